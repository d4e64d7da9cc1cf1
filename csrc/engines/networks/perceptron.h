// Rosenblatt's perceptron, trained as scikit-learn 1.9 trains it and to the same bits:
// python/firth/networks/rule.py has the rule in NumPy.
// n = samples, d = features, K = problems.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "../../kernels.h"

namespace firth::networks {

// Dense samples: values (n, d). Sparse ones, where columns is not null: the numbers of sample i and
// their columns are those from starts[i] up to starts[i + 1].
template <class T>
struct Samples {
    const T* values;
    const int32_t* columns;
    const int32_t* starts;    // n + 1
    const int32_t* labels;    // n
    const T* weights;         // n
    const uint8_t* held_out;  // n: not 0 where a sample is not learnt
    size_t n, d;
};

struct PerceptronRule {
    double rate, intercept_decay, tol;
    int32_t patience;  // epochs in a row that may be no better than the best by tol
    bool fit_intercept, shuffle;
};

enum class Status : int32_t { running, stopped, overflowed };

// K classifiers, each of one label against all others; arrays of K unless said otherwise.
template <class T>
struct Problems {
    size_t count;
    const int32_t* positive;  // the label
    const double* weights;    // (K, 2): of its samples, of the others
    const uint32_t* seeds;    // of the order
    T* coef;                  // (K, d)
    double* intercept;
    int32_t* order;   // (K, n): of the last epoch
    double* best;     // the least mean loss of an epoch
    double* loss;     // the sum of the last epoch
    int32_t* idle;    // epochs in a row that were no better
    int32_t* epochs;  // how many there were
    int32_t* status;  // Status
};

// At most `most` further epochs of each problem that is running; each is a task of the thread pool.
template <class T>
void perceptron_epochs(const Samples<T>& samples, const PerceptronRule& rule,
                       const Problems<T>& problems, size_t most, const Kernels& kernels);

}  // namespace firth::networks
