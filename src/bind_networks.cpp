// Bindings of networks that train: epochs of perceptrons.
#include "bindings.h"
#include "engines/networks/perceptron.h"

namespace firth {

using namespace networks;

namespace {

// Arrays that are attributes of Python objects; they stay alive while this does.
class Attributes {
  public:
    template <class T>
    array<T> get(const py::object& from, const char* name) {
        array<T> found = attribute<T>(from, name);
        held_.push_back(found);
        return found;
    }

    // `size` numbers that are only read.
    template <class T>
    const T* given(const py::object& from, const char* name, size_t size) {
        const array<T> found = get<T>(from, name);
        if (static_cast<size_t>(found.size()) != size)
            throw py::value_error(std::string(name) + ": perceptron_epochs wants another size");
        return found.data();
    }

    // The same where they are written.
    template <class T>
    T* changed(const py::object& from, const char* name, size_t size) {
        given<T>(from, name, size);
        return py::reinterpret_borrow<array<T>>(held_.back()).mutable_data();
    }

  private:
    std::vector<py::object> held_;
};

template <class T>
Samples<T> samples_of(Attributes& held, const py::object& from, size_t d) {
    const array<T> values = held.get<T>(from, "values");
    const size_t n = static_cast<size_t>(held.get<int32_t>(from, "labels").size());
    Samples<T> s{values.data(),
                 nullptr,
                 nullptr,
                 held.given<int32_t>(from, "labels", n),
                 held.given<T>(from, "weights", n),
                 held.given<uint8_t>(from, "held_out", n),
                 n,
                 d};
    if (n < 1 || n > INT32_MAX || d < 1 || d > INT32_MAX)
        throw py::value_error("perceptron_epochs: want from 1 to 2^31 - 1 samples and features");
    const auto size = static_cast<size_t>(values.size());
    if (from.attr("columns").is_none()) {
        if (size / d != n || size % d)
            throw py::value_error("perceptron_epochs: values must be (n, d)");
        return s;
    }
    s.columns = held.given<int32_t>(from, "columns", size);
    s.starts = held.given<int32_t>(from, "starts", n + 1);
    bool rising = s.starts[0] >= 0 && static_cast<size_t>(s.starts[n]) <= size;
    for (size_t i = 0; i < n; i++) rising = rising && s.starts[i] <= s.starts[i + 1];
    if (!rising) throw py::value_error("perceptron_epochs: starts must rise within the values");
    for (size_t j = 0; j < size; j++)
        if (s.columns[j] < 0 || static_cast<size_t>(s.columns[j]) >= d)
            throw py::index_error("perceptron_epochs: a column is out of range");
    return s;
}

template <class T>
void run(const Level& level, const py::object& samples, const py::object& problems,
         const PerceptronRule& rule, size_t most) {
    Attributes held;
    const array<T> coef = held.get<T>(problems, "coef");
    if (coef.ndim() != 2) throw py::value_error("perceptron_epochs: coef must be (K, d)");
    const size_t count = static_cast<size_t>(coef.shape(0));
    const size_t d = static_cast<size_t>(coef.shape(1));
    const Samples<T> s = samples_of<T>(held, samples, d);
    const Problems<T> p{count,
                        held.given<int32_t>(problems, "positive", count),
                        held.given<double>(problems, "weights", 2 * count),
                        held.given<uint32_t>(problems, "seeds", count),
                        held.changed<T>(problems, "coef", count * d),
                        held.changed<double>(problems, "intercept", count),
                        held.changed<int32_t>(problems, "order", count * s.n),
                        held.changed<double>(problems, "best", count),
                        held.changed<double>(problems, "loss", count),
                        held.changed<int32_t>(problems, "idle", count),
                        held.changed<int32_t>(problems, "epochs", count),
                        held.changed<int32_t>(problems, "status", count)};
    for (size_t i = 0; i < count * s.n; i++)
        if (p.order[i] < 0 || static_cast<size_t>(p.order[i]) >= s.n)
            throw py::index_error("perceptron_epochs: a sample is out of range");
    WithoutGil unlocked;
    perceptron_epochs(s, rule, p, most, *level);
}

void epochs(const Level& level, const py::object& samples, const py::object& problems, double rate,
            double intercept_decay, bool fit_intercept, bool shuffle, double tol, int32_t patience,
            size_t most) {
    const PerceptronRule rule{rate, intercept_decay, tol, patience, fit_intercept, shuffle};
    if (py::isinstance<array<float>>(samples.attr("values")))
        run<float>(level, samples, problems, rule, most);
    else
        run<double>(level, samples, problems, rule, most);
}

}  // namespace

void bind_networks(py::module_& networks) {
    networks.def("perceptron_epochs", &epochs, py::arg("level"), py::arg("samples"),
                 py::arg("problems"), py::kw_only(), py::arg("rate"), py::arg("intercept_decay"),
                 py::arg("fit_intercept"), py::arg("shuffle"), py::arg("tol"), py::arg("patience"),
                 py::arg("most"));
}

}  // namespace firth
