// The module firth._native: levels, threads, and a submodule for each topic.
#include "bindings.h"
#include "caches.h"
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
    // The first use frees the GIL, and a daemon thread that wants it back at the exit of the
    // process would end it (views.h): so that use is here, where the import of the module is not
    // over.
    py::detail::npy_api::get();
    module.doc() = "Compiled kernels and engines of firth; use the Python API above them.";

    py::class_<firth::Level> level(module, "Level");
    level.def_property_readonly("name",
                                [](const firth::Level& self) { return self.kernels->level; });
    level.def_property_readonly(
        "vector_bytes", [](const firth::Level& self) { return self.kernels->vector_bytes; });
    level.def_property_readonly("obstacle", [](const firth::Level& self) { return self.obstacle; });
    level.def_property_readonly("bfloat16_is_fast", [](const firth::Level& self) {
        return firth::bfloat16_is_fast(*self.kernels);
    });
    level.def("refused", &firth::Level::refused);
    // Submodules; functions of firth._native.kernels take the level to run on as first argument.
    py::module_ kernels = module.def_submodule("kernels"), words = module.def_submodule("words"),
                search = module.def_submodule("search"), files = module.def_submodule("files"),
                fasttext = module.def_submodule("fasttext"), text = module.def_submodule("text"),
                transformer = module.def_submodule("transformer"),
                networks = module.def_submodule("networks"), nn = module.def_submodule("nn");
    firth::bind_kernels(kernels);
    firth::bind_gemm(kernels);
    firth::bind_attention(kernels);
    firth::bind_backward(kernels);
    firth::bind_transformer_kernels(kernels);
    firth::bind_embedding(kernels);
    firth::bind_text(text);
    firth::bind_words(words, kernels);
    firth::bind_glove(words, kernels);
    firth::bind_subwords(words);
    firth::bind_search(search, kernels);
    firth::bind_id_map(search);
    firth::bind_fasttext(fasttext);
    firth::bind_vectors(files);
    firth::bind_transformer(transformer);
    firth::bind_generators(transformer);
    firth::bind_networks(networks);
    firth::bind_nn(nn);

    module.def("levels", [] {
        size_t count;
        const firth::LevelState* levels = firth::levels(&count);
        py::list result;
        for (size_t i = 0; i < count; i++)
            result.append(firth::Level{levels[i].kernels, levels[i].obstacle});
        return result;
    });
    module.def("other_v4x", []() -> py::object {
        const firth::Kernels* kernels = firth::other_v4x();
        return kernels ? py::cast(firth::Level{kernels, nullptr}) : py::none();
    });
    module.def("num_threads", &firth::num_threads);
    module.def("l2_bytes", &firth::l2_bytes);
    module.def("set_l2_bytes", &firth::set_l2_bytes, py::arg("bytes"));
    module.attr("MOST_THREADS") = firth::kMostThreads;
    module.def("set_num_threads", &firth::set_num_threads, py::arg("count"));
    module.def("keep_threads_awake", &firth::keep_threads_awake);
}
