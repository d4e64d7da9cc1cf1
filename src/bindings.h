// What every src/bind_<topic>.cpp shares: the Level that Python holds, and one line a topic.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <thread>

#include "kernels.h"

namespace firth {

namespace py = pybind11;

// One usable ISA level as Python sees it; its methods are the kernels of that level.
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

// C-contiguous arrays of exactly this dtype: a wrong one is a TypeError, never a silent copy.
template <class T>
using array = py::array_t<T, py::array::c_style>;

// The bytes of any contiguous buffer (bytes, mmap, memoryview), without a copy.
struct Bytes {
    py::buffer_info info;
    const char* data;
    size_t size;

    explicit Bytes(const py::buffer& buffer) : info(buffer.request()) {
        if (info.itemsize != 1 || info.ndim != 1 || (info.size > 1 && info.strides[0] != 1))
            throw py::value_error("want a contiguous buffer of bytes");
        data = static_cast<const char*>(info.ptr);
        size = static_cast<size_t>(info.size);
    }
};

// Each fills submodules of firth._native; those of matrix products and attention are still methods
// of Level.
void bind_kernels(py::module_& kernels);
void bind_attention(py::class_<Level>& level);
void bind_gemm(py::module_& module, py::class_<Level>& level);
void bind_embedding(py::module_& text, py::module_& kernels);
void bind_words(py::module_& words, py::module_& kernels);
void bind_glove(py::module_& words, py::module_& kernels);
void bind_subwords(py::module_& words);
void bind_search(py::module_& search, py::module_& kernels);
void bind_id_map(py::module_& search);
void bind_fasttext(py::module_& fasttext);
void bind_vectors(py::module_& files);

}  // namespace firth
