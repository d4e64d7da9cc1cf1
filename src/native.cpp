// The module firth._native: levels, threads, and the topics (one bind_<topic>.cpp each).
#include "bindings.h"
#include "levels.h"
#include "parallel.h"

namespace py = pybind11;

// threadpoolctl finds the pool through these two symbols (python/firth/system.py).
extern "C" {
__attribute__((visibility("default"))) int firth_get_num_threads() {
    try {
        return firth::num_threads();
    } catch (const std::exception&) {  // C knows no exceptions: the first kernel reports it
        return 1;
    }
}
__attribute__((visibility("default"))) void firth_set_num_threads(int count) {
    firth::set_num_threads(count);
}
}

PYBIND11_MODULE(_native, module, py::mod_gil_not_used()) {
    module.doc() = "Compiled kernels and engines of firth; use the Python API above them.";

    py::class_<firth::Level> level(module, "Level");
    level.def_property_readonly("name",
                                [](const firth::Level& self) { return self.kernels->level; });
    level.def_property_readonly(
        "vector_bytes", [](const firth::Level& self) { return self.kernels->vector_bytes; });
    firth::bind_kernels(level);
    firth::bind_fasttext(module);
    firth::bind_id_map(module);
    firth::bind_gemm(module, level);
    firth::bind_attention(level);
    firth::bind_vectors(module);
    firth::bind_subwords(module);
    firth::bind_embedding(module, level);
    firth::bind_glove(module, level);
    firth::bind_search(module, level);
    firth::bind_words(module, level);

    module.def("usable_levels", [] {
        size_t count;
        const firth::Kernels* const* levels = firth::usable_levels(&count);
        py::list result;
        for (size_t i = 0; i < count; i++) result.append(firth::Level{levels[i]});
        return result;
    });
    module.def("compiled_levels", [] {
        size_t count;
        const char* const* names = firth::compiled_levels(&count);
        py::list result;
        for (size_t i = 0; i < count; i++) result.append(names[i]);
        return result;
    });
    module.def("num_threads", &firth::num_threads);
    module.attr("MOST_THREADS") = firth::kMostThreads;
    module.def("set_num_threads", &firth::set_num_threads, py::arg("count"));
}
