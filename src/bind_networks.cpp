// Bindings of networks that train: epochs of perceptrons, steps of multilayer perceptrons.
#include "bindings.h"
#include "engines/networks/mlp.h"
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
    if (attribute(from, "columns").is_none()) {
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
    if (py::isinstance<array<float>>(attribute(samples, "values")))
        run<float>(level, samples, problems, rule, most);
    else
        run<double>(level, samples, problems, rule, most);
}

// Steps of a multilayer perceptron, with the arrays that they read and write.
class Mlp {
  public:
    Mlp(const Level& level, const py::object& samples, const py::object& values,
        const py::object& first, const py::object& second, size_t most_batch,
        const std::vector<size_t>& units, int activation, int output, bool adam, bool nesterov,
        double alpha, double momentum, double beta_1, double beta_2, double epsilon, double dropout,
        uint64_t seed)
        : most_batch_(most_batch) {
        constexpr size_t kMost = size_t(1) << 31;
        bool right = units.size() >= 2 && most_batch >= 1 && most_batch < kMost;
        size_t all = 0;
        for (size_t l = 0; l < units.size(); l++) {
            right = right && units[l] >= 1 && units[l] < kMost;
            if (right && l > 0) right = (units[l - 1] + 1) * units[l] < SIZE_MAX / 64 - all;
            if (right && l > 0) all += (units[l - 1] + 1) * units[l];
        }
        if (!right) throw py::value_error("Mlp: units or the batch are out of range");
        const bool known = activation == kNone || activation == kRelu || activation == kTanh ||
                           activation == kSigmoid;
        if (!known || output < int(MlpOutput::identity) || output > int(MlpOutput::softmax))
            throw py::value_error("Mlp: there is no such activation or output");
        const MlpRule rule{units,    activation, MlpOutput(output), adam,
                           nesterov, alpha,      momentum,          beta_1,
                           beta_2,   epsilon,    dropout,           seed};
        if (py::isinstance<array<float>>(values))
            make<float>(level, samples, values, first, second, rule, all);
        else
            make<double>(level, samples, values, first, second, rule, all);
    }

    // The sum of losses x samples, and the steps with those before.
    std::pair<double, uint64_t> run(const array<int64_t>& rows, size_t batch,
                                    const array<double>& rates, uint64_t steps) {
        const auto count = static_cast<size_t>(rows.size());
        if (batch < 1 || batch > most_batch_ ||
            static_cast<size_t>(rates.size()) != (count + batch - 1) / batch)
            throw py::value_error("Mlp: want one rate a batch, and none larger than announced");
        const int64_t* row = rows.data();
        for (size_t i = 0; i < count; i++)
            if (row[i] < 0 || static_cast<size_t>(row[i]) >= n_)
                throw py::index_error("Mlp: a row is out of range");
        WithoutGil unlocked;
        const MlpTrainer::Done done = trainer_->run(row, count, batch, rates.data(), steps);
        return {done.loss, done.steps};
    }

  private:
    template <class T>
    T* changed(const py::object& x, size_t size) {
        if (!py::isinstance<array<T>>(x)) throw py::type_error("Mlp: want arrays of one dtype");
        auto found = py::reinterpret_borrow<array<T>>(x);
        if (static_cast<size_t>(found.size()) != size)
            throw py::value_error("Mlp: want one number for each weight");
        held_.push_back(found);
        return found.mutable_data();
    }

    template <class T>
    void make(const Level& level, const py::object& samples, const py::object& values,
              const py::object& first, const py::object& second, const MlpRule& rule, size_t all) {
        const array<T> x = attribute<T>(samples, "X"), y = attribute<T>(samples, "y");
        const Optional<T> weights = maybe<T>(samples, "weights");
        const bool tables = x.ndim() == 2 && y.ndim() == 2;
        n_ = tables ? static_cast<size_t>(x.shape(0)) : 0;
        if (!tables || y.shape(0) != x.shape(0) ||
            static_cast<size_t>(x.shape(1)) != rule.units.front() ||
            static_cast<size_t>(y.shape(1)) != rule.units.back() || most_batch_ > n_ ||
            (weights && static_cast<size_t>(weights->size()) != n_))
            throw py::value_error(
                "Mlp: samples must be (n, d), (n, K) and n or none, n at least a batch");
        held_.insert(held_.end(), {x, y});
        if (weights) held_.push_back(*weights);
        const MlpData<T> data{x.data(),
                              y.data(),
                              weights ? weights->data() : nullptr,
                              n_,
                              changed<T>(values, all),
                              changed<T>(first, all),
                              rule.adam ? changed<T>(second, all) : nullptr};
        trainer_ = make_mlp_trainer(*level, rule, data, most_batch_);
    }

    size_t most_batch_, n_ = 0;
    std::vector<py::object> held_;
    std::unique_ptr<MlpTrainer> trainer_;
};

}  // namespace

void bind_networks(py::module_& networks) {
    py::class_<Mlp>(networks, "Mlp")
        .def(py::init<const Level&, const py::object&, const py::object&, const py::object&,
                      const py::object&, size_t, const std::vector<size_t>&, int, int, bool, bool,
                      double, double, double, double, double, double, uint64_t>(),
             py::arg("level"), py::arg("samples"), py::arg("values"), py::arg("first"),
             py::arg("second"), py::kw_only(), py::arg("most_batch"), py::arg("units"),
             py::arg("activation"), py::arg("output"), py::arg("adam"), py::arg("nesterov"),
             py::arg("alpha"), py::arg("momentum"), py::arg("beta_1"), py::arg("beta_2"),
             py::arg("epsilon"), py::arg("dropout"), py::arg("seed"))
        .def("run", &Mlp::run, py::arg("rows"), py::arg("batch"), py::arg("rates"),
             py::arg("steps"));
    networks.def("perceptron_epochs", &epochs, py::arg("level"), py::arg("samples"),
                 py::arg("problems"), py::kw_only(), py::arg("rate"), py::arg("intercept_decay"),
                 py::arg("fit_intercept"), py::arg("shuffle"), py::arg("tol"), py::arg("patience"),
                 py::arg("most"));
}

}  // namespace firth
