// Common to every src/bind_<topic>.cpp: the Level that Python holds, and one line per topic.
#pragma once
#include <chrono>
#include <thread>

#include "kernels.h"
#include "views.h"

namespace firth {

// One usable ISA level as Python sees it, and passes it to the kernels.
struct Level {
    const Kernels* kernels;
};

// The GIL is free while this lives. A daemon thread that wants it back while the interpreter shuts
// down never gets it: CPython up to 3.13 then ends the thread by unwinding its stack, which
// terminates the process where it meets a destructor or pybind11's handlers. Such a thread is
// caught here and sleeps until the process ends, as CPython itself does from 3.14 on.
class WithoutGil {
  public:
    WithoutGil() : state_(PyEval_SaveThread()) {}
    WithoutGil(const WithoutGil&) = delete;
    WithoutGil& operator=(const WithoutGil&) = delete;
    ~WithoutGil() {
        try {
            PyEval_RestoreThread(state_);
        } catch (...) {  // it throws nothing of C++: only the unwinding ends here
            for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
        }
    }

  private:
    PyThreadState* state_;
};

// Each fills submodules of firth._native.
void bind_kernels(py::module_& kernels);
void bind_attention(py::module_& kernels);
void bind_backward(py::module_& kernels);
void bind_gemm(py::module_& kernels);
void bind_embedding(py::module_& text, py::module_& kernels);
void bind_words(py::module_& words, py::module_& kernels);
void bind_glove(py::module_& words, py::module_& kernels);
void bind_subwords(py::module_& words);
void bind_search(py::module_& search, py::module_& kernels);
void bind_id_map(py::module_& search);
void bind_fasttext(py::module_& fasttext);
void bind_vectors(py::module_& files);

}  // namespace firth
