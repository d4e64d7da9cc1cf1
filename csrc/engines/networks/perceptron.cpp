#include "perceptron.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "../../parallel.h"

namespace firth::networks {
namespace {

// Marsaglia's xorshift of 32 bits, of which scikit-learn takes 31.
uint32_t draw(uint32_t& state) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state & 0x7fffffff;
}

// Where each sample of an epoch stood in the one before. All epochs have the same: scikit-learn
// begins each shuffle with the same seed.
std::vector<int32_t> shuffle(size_t n, uint32_t seed) {
    std::vector<int32_t> from(n);
    std::iota(from.begin(), from.end(), 0);
    if (seed == 0) seed = 1;
    for (size_t i = 0; i + 1 < n; i++)
        std::swap(from[i], from[i + draw(seed) % static_cast<uint32_t>(n - i)]);
    return from;
}

// The product as scikit-learn adds it: one after the other, in double, then rounded.
template <class T>
double product(const T* w, const T* x, const int32_t* columns, size_t size) {
    double sum = 0;
    if (columns)
        for (size_t j = 0; j < size; j++) sum += w[columns[j]] * x[j];
    else
        for (size_t j = 0; j < size; j++) sum += w[j] * x[j];
    return static_cast<T>(sum);
}

template <class T>
void step(T* w, const T* x, const int32_t* columns, size_t size, double update) {
    const double c = static_cast<T>(update);
    if (columns)
        for (size_t j = 0; j < size; j++) w[columns[j]] = static_cast<T>(w[columns[j]] + x[j] * c);
    else
        for (size_t j = 0; j < size; j++) w[j] = static_cast<T>(w[j] + x[j] * c);
}

// The sum of the magnitudes of x: n, in eight parts that the compiler keeps in vectors.
template <class T>
double magnitude(const T* x, size_t n) {
    double sums[8] = {};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t lane = 0; lane < 8; lane++) sums[lane] += std::fabs(x[i + lane]);
    for (; i < n; i++) sums[0] += std::fabs(x[i]);
    return std::accumulate(sums, sums + 8, 0.0);
}

template <class T>
double largest(const T* w, size_t n) {
    double most[4] = {};
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (size_t lane = 0; lane < 4; lane++)
            most[lane] = std::max<double>(most[lane], std::fabs(w[i + lane]));
    for (; i < n; i++) most[0] = std::max<double>(most[0], std::fabs(w[i]));
    return *std::max_element(most, most + 4);
}

// One problem, k. A sum in scikit-learn's order waits for each of its additions, and of most
// samples no more is needed than that they are on the right side. So a product in any order comes
// first: with e the rounding unit and S the sum of |w_j x_j|, it differs from scikit-learn's by at
// most (2 d + 16) e S, and by 4 d denormals; S is at most the largest |w_j| times the sum of |x_j|.
// A sample whose margin is larger is passed; all others are computed as scikit-learn does. Sparse
// samples have no such product.
template <class T>
class Training {
  public:
    Training(const Samples<T>& samples, const PerceptronRule& rule, const Problems<T>& problems,
             size_t k, const double* magnitudes, const Kernels& kernels)
        : s(samples),
          rule(rule),
          p(problems),
          k(k),
          magnitudes(magnitudes),
          kernels(kernels),
          w(problems.coef + k * samples.d),
          intercept(problems.intercept[k]),
          relative((2.0 * samples.d + 16) * std::numeric_limits<T>::epsilon()),
          absolute(4.0 * samples.d * std::numeric_limits<T>::denorm_min()) {}

    void run(size_t most) {
        int32_t* const order = p.order + k * s.n;
        std::vector<int32_t> from, before(s.n);
        if (rule.shuffle) from = shuffle(s.n, p.seeds[k]);
        for (size_t epoch = 0; epoch < most && running(); epoch++) {
            if (rule.shuffle) {
                std::copy(order, order + s.n, before.begin());
                for (size_t i = 0; i < s.n; i++) order[i] = before[static_cast<size_t>(from[i])];
            }
            learn(order);
            p.epochs[k]++;
            judge();
        }
        p.intercept[k] = intercept;
    }

  private:
    bool running() const { return p.status[k] == static_cast<int32_t>(Status::running); }

    void learn(const int32_t* order) {
        double loss = 0;
        double bound = relative * largest(w, s.d);
        for (size_t place = 0; place < s.n; place++) {
            const size_t i = static_cast<size_t>(order[place]);
            if (s.held_out[i]) continue;
            const bool positive = s.labels[i] == p.positive[k];
            const double y = positive ? 1 : -1;
            const T* x = s.values + i * s.d;
            const int32_t* columns = nullptr;
            size_t size = s.d;
            if (s.columns) {
                x = s.values + s.starts[i];
                columns = s.columns + s.starts[i];
                size = static_cast<size_t>(s.starts[i + 1] - s.starts[i]);
            } else {
                T near;
                kernels.of<T>().dot(x, 0, w, 0, &near, 1, size);
                const double margin = (static_cast<double>(near) + intercept) * y;
                // infinite where a part of `near` overflowed
                if (margin > bound * magnitudes[i] + absolute && std::isfinite(margin)) continue;
            }
            const double z = (product(w, x, columns, size) + intercept) * y;
            if (!(z <= 0)) continue;
            loss -= z;
            const T weight = static_cast<T>(p.weights[2 * k + !positive]) * s.weights[i];
            const double update = rule.rate * y * static_cast<double>(weight);
            if (update == 0) continue;
            step(w, x, columns, size, update);
            if (!columns) bound = relative * largest(w, s.d);
            if (rule.fit_intercept) intercept += update * rule.intercept_decay;
        }
        p.loss[k] = loss;
    }

    // What an epoch means for the next.
    void judge() {
        if (!std::isfinite(intercept) ||
            !std::all_of(w, w + s.d, [](T weight) { return std::isfinite(weight); })) {
            p.status[k] = static_cast<int32_t>(Status::overflowed);
            return;
        }
        const auto held_out =
            std::count_if(s.held_out, s.held_out + s.n, [](uint8_t held) { return held != 0; });
        const double loss = p.loss[k] / (static_cast<double>(s.n) - static_cast<double>(held_out));
        const bool idle =
            rule.tol > -std::numeric_limits<double>::infinity() && loss > p.best[k] - rule.tol;
        p.idle[k] = idle ? p.idle[k] + 1 : 0;
        p.best[k] = std::min(p.best[k], loss);
        if (p.idle[k] >= rule.patience) p.status[k] = static_cast<int32_t>(Status::stopped);
    }

    const Samples<T>& s;
    const PerceptronRule& rule;
    const Problems<T>& p;
    const size_t k;
    const double* const magnitudes;
    const Kernels& kernels;
    T* const w;
    double intercept;
    const double relative, absolute;
};

}  // namespace

template <class T>
void perceptron_epochs(const Samples<T>& samples, const PerceptronRule& rule,
                       const Problems<T>& problems, size_t most, const Kernels& kernels) {
    std::vector<double> magnitudes;
    if (!samples.columns) {
        magnitudes.resize(samples.n);
        for (size_t i = 0; i < samples.n; i++)
            magnitudes[i] = magnitude(samples.values + i * samples.d, samples.d);
    }
    parallel_for(problems.count, 1, [&](size_t begin, size_t end) {
        for (size_t k = begin; k < end; k++)
            Training<T>(samples, rule, problems, k, magnitudes.data(), kernels).run(most);
    });
}

template void perceptron_epochs(const Samples<float>&, const PerceptronRule&,
                                const Problems<float>&, size_t, const Kernels&);
template void perceptron_epochs(const Samples<double>&, const PerceptronRule&,
                                const Problems<double>&, size_t, const Kernels&);

}  // namespace firth::networks
