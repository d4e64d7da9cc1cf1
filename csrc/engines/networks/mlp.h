// Steps of stochastic gradients of a multilayer perceptron, as scikit-learn 1.9 takes them:
// python/firth/networks/mlp_reference.py has the same in NumPy, and derives backward.
// n = samples, d = features, K = outputs.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <memory>
#include <vector>

#include "../../activations.h"
#include "../../kernels.h"

namespace firth::networks {

// The last layer's function; each has its loss, of which (outputs - targets) is the gradient.
enum class MlpOutput : int { identity, exponential, logistic, softmax };

struct MlpRule {
    std::vector<size_t> units;  // d, hidden layers, K
    int activation;             // of hidden layers: kNone, kRelu, kTanh or kSigmoid
    MlpOutput output;
    bool adam, nesterov;
    double alpha, momentum, beta_1, beta_2, epsilon, dropout;
    uint64_t seed;  // of dropout
};

// The number of all weights: coefs (before, after) of each layer, then intercepts of each.
size_t mlp_size(const std::vector<size_t>& units);

template <class T>
struct MlpData {
    const T* x;        // (n, d)
    const T* y;        // (n, K)
    const T* weights;  // n, or null
    size_t n;
    T *values, *first, *second;  // mlp_size each: weights, and what the optimizer remembers of them
};

class MlpTrainer {
  public:
    struct Done {
        double loss;     // the sum of mean losses with penalty x samples of the batch
        uint64_t steps;  // those before included
    };
    virtual ~MlpTrainer() = default;
    // A step for each `batch` of the rows (in [0, n)), with its rate; steps: how many came before.
    // batch: at most that of the constructor.
    virtual Done run(const int64_t* rows, size_t count, size_t batch, const double* rates,
                     uint64_t steps) = 0;
};

template <class T>
std::unique_ptr<MlpTrainer> make_mlp_trainer(const Kernels& kernels, const MlpRule& rule,
                                             const MlpData<T>& data, size_t most_batch);

}  // namespace firth::networks
