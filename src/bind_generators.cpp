// Bindings for generators: caches of keys and values, and what runs with them.
#include <algorithm>
#include <atomic>

#include "bindings.h"
#include "stack_object.h"

namespace firth {
namespace {

using namespace transformer;

// A cache, and whether a call uses it: two threads of Python must not at once.
struct CacheObject {
    explicit CacheObject(Cache made) : cache(std::move(made)) {}
    Cache cache;
    std::atomic_flag busy = ATOMIC_FLAG_INIT;
};

// Holds caches until the end of the scope. RuntimeError where one is held already.
class Held {
  public:
    explicit Held(const std::vector<CacheObject*>& caches) {
        for (CacheObject* one : caches) {
            if (!one || one->busy.test_and_set(std::memory_order_acquire)) {
                release();
                throw std::runtime_error("Cache: another call uses it");
            }
            held_.push_back(one);
        }
    }
    ~Held() { release(); }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

  private:
    void release() {
        for (CacheObject* one : held_) one->busy.clear(std::memory_order_release);
        held_.clear();
    }
    std::vector<CacheObject*> held_;
};

// memory: what the stack attends to (M, C), or None.
std::unique_ptr<CacheObject> make_cache(const StackObject& self, bool half,
                                        const Optional<float>& memory) {
    const Stack& stack = self.stack;
    if (!stack.plan.causal) throw py::value_error("Cache: want a causal stack");
    if (memory && stack.plan.memory == 0)
        throw py::value_error("Cache: a memory, but no cross-attention is planned");
    if (memory && (memory->ndim() != 2 || size_t(memory->shape(1)) != stack.plan.memory))
        throw py::value_error("Cache: memory: want vectors as wide as planned");
    auto made = std::make_unique<CacheObject>(Cache(stack.plan, stack.layers.size(), half));
    if (memory) {
        WithoutGil unlocked;
        remember(stack, memory->data(), size_t(memory->shape(0)), &made->cache);
    }
    return made;
}

std::unique_ptr<CacheObject> first(CacheObject& self, size_t n) {
    const Held held({&self});
    if (n > self.cache.length()) throw py::value_error("Cache.first: it has fewer tokens");
    return std::make_unique<CacheObject>(self.cache.first(n));
}

void shorten(CacheObject& self, size_t n) {
    const Held held({&self});
    if (n > self.cache.length()) throw py::value_error("Cache.shorten: it has fewer tokens");
    self.cache.shorten(n);
}

// Whether these are B + 1 numbers from 0 on that never fall.
bool are_offsets(const array<int64_t>& x, size_t count) {
    return x.ndim() == 1 && size_t(x.size()) == count + 1 && x.data()[0] == 0 &&
           std::is_sorted(x.data(), x.data() + count + 1);
}

// ids (N,), offsets (B + 1,), rows of positions (N,) or None, B caches of this stack, wanted
// (B + 1,) -> states (wanted[B], D) of the last wanted[b + 1] - wanted[b] tokens of each text; the
// caches have the tokens then.
py::array_t<float> extend(const StackObject& self, const array<int32_t>& ids,
                          const array<int64_t>& offsets, const Optional<int32_t>& positions,
                          const std::vector<CacheObject*>& caches, const array<int64_t>& wanted) {
    const Stack& stack = self.stack;
    const size_t count = caches.size(), n = size_t(ids.size());
    if (!are_offsets(offsets, count) || size_t(offsets.data()[count]) != n)
        throw py::value_error("Stack.extend: offsets: want B + 1 from 0 to the last token");
    if (!are_offsets(wanted, count))
        throw py::value_error("Stack.extend: wanted: want B + 1 from 0");
    for (size_t b = 0; b < count; b++)
        if (wanted.data()[b + 1] - wanted.data()[b] > offsets.data()[b + 1] - offsets.data()[b])
            throw py::value_error("Stack.extend: wanted: more states than tokens");
    check_ids(ids, n, stack.token_count(), "ids");
    if (positions) check_ids(*positions, n, places_of(stack), "positions");
    const Held held(caches);
    std::vector<Cache*> used;
    const Cache like(stack.plan, stack.layers.size(), true);
    for (size_t b = 0; b < count; b++) {
        Cache& cache = caches[b]->cache;
        if (!cache.fits(like)) throw py::value_error("Stack.extend: a cache of another stack");
        const size_t all = cache.length() + size_t(offsets.data()[b + 1] - offsets.data()[b]);
        if (all + stack.plan.position_offset > places_of(stack))
            throw py::value_error("Stack.extend: a text of " + std::to_string(all) +
                                  " tokens, more than there are positions");
        used.push_back(&cache);
    }
    py::array_t<float> hidden({size_t(wanted.data()[count]), stack.plan.width});
    Texts texts{
        ids.data(), offsets.data(), count,   nullptr, positions ? positions->data() : nullptr,
        nullptr,    nullptr,        nullptr, nullptr, nullptr};
    texts.caches = used.data(), texts.wanted = wanted.data();
    const Outputs outputs{hidden.mutable_data(), nullptr, nullptr, Pooling::none, nullptr, nullptr};
    {
        WithoutGil unlocked;
        run(stack, texts, outputs);
    }
    return hidden;
}

// states (N, D) -> scores of all tokens (N, V)
py::array_t<float> scores(const StackObject& self, const array<float>& states) {
    const Stack& stack = self.stack;
    if (states.ndim() != 2 || size_t(states.shape(1)) != stack.plan.width)
        throw py::value_error("Stack.scores: want states as wide as planned");
    if (!stack.has_head()) throw py::value_error("Stack.scores: the stack has no head");
    const size_t n = size_t(states.shape(0));
    py::array_t<float> found({n, stack.head_outputs()});
    float* to = found.mutable_data();
    {
        WithoutGil unlocked;
        run_head(stack, states.data(), n, to);
    }
    return found;
}

}  // namespace

void bind_generators(py::module_& transformer) {
    py::class_<CacheObject>(transformer, "Cache")
        .def(py::init(&make_cache), py::arg("stack"), py::arg("half"),
             py::arg("memory").noconvert())
        .def("__len__", [](const CacheObject& self) { return self.cache.length(); })
        .def_property_readonly("nbytes", [](const CacheObject& self) { return self.cache.bytes(); })
        .def("first", &first, py::arg("n"))
        .def("shorten", &shorten, py::arg("n"));
    transformer.def("extend", &extend, py::arg("stack"), py::arg("ids").noconvert(),
                    py::arg("offsets").noconvert(), py::arg("positions").noconvert(),
                    py::arg("caches"), py::arg("wanted").noconvert());
    transformer.def("scores", &scores, py::arg("stack"), py::arg("states").noconvert());
}

}  // namespace firth
