// Common to every src/bind_<topic>.cpp: the Level that Python holds, and one line per topic.
#pragma once
#include <stdexcept>
#include <string>

#include "kernels.h"
#include "levels.h"
#include "views.h"

namespace firth {

// An ISA level that was compiled in, as Python sees it and passes it to the kernels.
struct Level {
    const Kernels* kernels;
    const char* obstacle;  // why this machine does not run it, or null

    // Why the level cannot run, or null; asks the system for what it needs.
    const char* refused() const { return obstacle ? obstacle : request(*kernels); }

    // For running it: RuntimeError where it cannot.
    const Kernels& operator*() const {
        if (const char* why = refused())
            throw std::runtime_error(std::string("level ") + kernels->level + ": " + why);
        return *kernels;
    }
    const Kernels* operator->() const { return &**this; }
};

// The GIL is free while this lives.
class WithoutGil {
  public:
    WithoutGil() : state_(PyEval_SaveThread()) {}
    WithoutGil(const WithoutGil&) = delete;
    WithoutGil& operator=(const WithoutGil&) = delete;
    ~WithoutGil() {
        waiting_for_gil([&] { PyEval_RestoreThread(state_); });
    }

  private:
    PyThreadState* state_;
};

// Each fills submodules of firth._native.
void bind_kernels(py::module_& kernels);
void bind_attention(py::module_& kernels);
void bind_backward(py::module_& kernels);
void bind_gemm(py::module_& kernels);
void bind_transformer_kernels(py::module_& kernels);
void bind_embedding(py::module_& kernels);
void bind_generators(py::module_& transformer);
void bind_text(py::module_& text);
void bind_words(py::module_& words, py::module_& kernels);
void bind_glove(py::module_& words, py::module_& kernels);
void bind_subwords(py::module_& words);
void bind_search(py::module_& search, py::module_& kernels);
void bind_id_map(py::module_& search);
void bind_fasttext(py::module_& fasttext);
void bind_vectors(py::module_& files);
void bind_networks(py::module_& networks);
void bind_transformer(py::module_& transformer);
void bind_nn(py::module_& nn);

}  // namespace firth
