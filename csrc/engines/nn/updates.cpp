// Steps of optimizers over all parameters of a group, and the norm of all gradients.
//
// Inputs of a step: numbers (doubles: learning rate, momentum, the number of the step of each
// parameter), what clip_grad_norm gave (norm and factor of all gradients) or absent, and for each
// parameter p, its gradient, its states. p and states are changed in place; a parameter without
// gradient is skipped. Each element is on its own, so threads share the elements of all parameters
// as one row.
#include <math.h>

#include <algorithm>

#include "engines/nn/operation.h"
#include "memory.h"

namespace firth::nn {
namespace {

constexpr size_t kHead = 2;  // inputs, and numbers, before the first parameter's

bool step_fits(const Call& c, size_t states, size_t options) {
    const size_t each = 2 + states;
    if (c.backward || c.outs || c.saves || c.option_count != options || c.ins < kHead ||
        (c.ins - kHead) % each)
        return false;
    const size_t count = (c.ins - kHead) / each;
    const Array &numbers = c.in[0], &factor = c.in[1];
    if (!numbers || !c.is_number(numbers) || numbers.axes != 1 || numbers.shape[0] != kHead + count)
        return false;
    if (factor.there && (!factor || !c.is_number(factor) || factor.size() != 2)) return false;
    for (size_t i = 0; i < count; i++) {
        const Array* arrays = c.in + kHead + i * each;
        if (!arrays[1].there) continue;
        for (size_t j = 0; j < each; j++)
            if (!arrays[j] || arrays[j].kind != Kind::real || !arrays[j].has_shape_of(arrays[0]))
                return false;
    }
    return true;
}

// What the numbers say.
struct Numbers {
    double factor, lr, momentum;
    const double* steps;  // one a parameter, from 1

    explicit Numbers(const Call& c)
        : factor(c.in[1] ? c.in[1].as<double>()[1] : 1),
          lr(c.in[0].as<double>()[0]),
          momentum(c.in[0].as<double>()[1]),
          steps(c.in[0].as<double>() + kHead) {}
};

// body(i, arrays, begin, n) for ranges of n elements of parameter i, whose arrays these are.
template <class Body>
void for_parameters(const Call& c, size_t states, double cost, const Body& body) {
    const size_t each = 2 + states, count = (c.ins - kHead) / each;
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        const Array* arrays = c.in + kHead + i * each;
        if (arrays[1]) total += arrays[0].size();
    }
    for_items(c, total, cost, [&](size_t begin, size_t end) {
        size_t first = 0;  // of parameter i in the row of all
        for (size_t i = 0; i < count && first < end; i++) {
            const Array* arrays = c.in + kHead + i * each;
            if (!arrays[1]) continue;
            const size_t last = first + arrays[0].size();
            const size_t from = std::max(begin, first), to = std::min(end, last);
            if (from < to) body(i, arrays, from - first, to - from);
            first = last;
        }
    });
}

}  // namespace

// options: momentum is used, dampening, nesterov, weight decay. States: buffer, with momentum.
bool sgd_fits(const Call& c) { return c.option_count == 4 && step_fits(c, c.flag(0) ? 1 : 0, 4); }

template <class T>
void sgd_forward(const Call& c) {
    const bool heavy = c.flag(0);
    const Numbers numbers(c);
    for_parameters(c, heavy, 4, [&](size_t i, const Array* a, size_t at, size_t n) {
        const double share = numbers.steps[i] == 1 ? 1 : 1 - c.option(1);
        const SgdStep step{numbers.factor, numbers.lr,  numbers.momentum,
                           share,          c.option(3), c.flag(2)};
        c.kernels.of<T>().sgd_step(a[0].as<T>() + at, a[1].as<T>() + at,
                                   heavy ? a[2].as<T>() + at : nullptr, n, step);
    });
}

// options: beta2, eps, weight decay, whether it is decoupled (AdamW). beta1 is the momentum.
// States: mean, mean square.
bool adam_fits(const Call& c) { return step_fits(c, 2, 4); }

template <class T>
void adam_forward(const Call& c) {
    const Numbers numbers(c);
    const double beta2 = c.option(0), decay = c.option(2);
    const bool decoupled = c.flag(3);
    for_parameters(c, 2, 10, [&](size_t i, const Array* a, size_t at, size_t n) {
        const double beta1 = numbers.momentum, number = numbers.steps[i];
        const AdamStep step{numbers.factor,
                            numbers.lr / (1 - pow(beta1, number)),
                            beta1,
                            beta2,
                            sqrt(1 - pow(beta2, number)),
                            c.option(1),
                            decoupled ? 0 : decay,
                            decoupled ? 1 - numbers.lr * decay : 1};
        c.kernels.of<T>().adam_step(a[0].as<T>() + at, a[1].as<T>() + at, a[2].as<T>() + at,
                                    a[3].as<T>() + at, n, step);
    });
}

// options: decay of the learning rate, eps, weight decay. States: sum of squares.
bool adagrad_fits(const Call& c) { return step_fits(c, 1, 3); }

template <class T>
void adagrad_forward(const Call& c) {
    const Numbers numbers(c);
    for_parameters(c, 1, 8, [&](size_t i, const Array* a, size_t at, size_t n) {
        const AdagradStep step{numbers.factor,
                               numbers.lr / (1 + (numbers.steps[i] - 1) * c.option(0)), c.option(1),
                               c.option(2)};
        c.kernels.of<T>().adagrad_step(a[0].as<T>() + at, a[1].as<T>() + at, a[2].as<T>() + at, n,
                                       step);
    });
}

// options: alpha, eps, weight decay, centered, momentum is used. States: mean square; mean, where
// centered; buffer, with momentum.
bool rmsprop_fits(const Call& c) {
    return c.option_count == 5 && step_fits(c, size_t(1) + c.flag(3) + c.flag(4), 5);
}

template <class T>
void rmsprop_forward(const Call& c) {
    const Numbers numbers(c);
    const bool centered = c.flag(3), heavy = c.flag(4);
    const RmspropStep step{numbers.factor, numbers.lr,  numbers.momentum,
                           c.option(0),    c.option(1), c.option(2)};
    for_parameters(
        c, size_t(1) + centered + heavy, 10, [&](size_t, const Array* a, size_t at, size_t n) {
            c.kernels.of<T>().rmsprop_step(a[0].as<T>() + at, a[1].as<T>() + at, a[2].as<T>() + at,
                                           centered ? a[3].as<T>() + at : nullptr,
                                           heavy ? a[3 + centered].as<T>() + at : nullptr, n, step);
        });
}

// options: the greatest norm. in: gradients, or absent; out: numbers (norm, min(1, greatest /
// (norm + 1e-6))). Sums in double, by blocks of elements.
bool clip_grad_norm_fits(const Call& c) {
    if (c.backward || c.outs != 1 || c.saves || c.option_count != 1) return false;
    for (size_t i = 0; i < c.ins; i++)
        if (c.in[i].there && (!c.in[i] || c.in[i].kind != Kind::real)) return false;
    return c.out[0] && c.is_number(c.out[0]) && c.out[0].axes == 1 && c.out[0].shape[0] == 2;
}

template <class T>
void clip_grad_norm_forward(const Call& c) {
    constexpr size_t kBlock = 1 << 13;
    size_t blocks = 0;
    for (size_t i = 0; i < c.ins; i++)
        if (c.in[i]) blocks += divide_up(c.in[i].size(), kBlock);
    const Scratch scratch(blocks * sizeof(double));
    double* const sums = scratch.data<double>();
    for_items(c, blocks, double(kBlock), [&](size_t begin, size_t end) {
        size_t first = 0;  // block of input i
        for (size_t i = 0; i < c.ins && first < end; i++) {
            if (!c.in[i]) continue;
            const size_t size = c.in[i].size(), last = first + divide_up(size, kBlock);
            for (size_t b = std::max(begin, first); b < std::min(end, last); b++) {
                const size_t at = (b - first) * kBlock;
                sums[b] = c.kernels.of<T>().sum_of_squares(c.in[i].as<T>() + at,
                                                           std::min(kBlock, size - at));
            }
            first = last;
        }
    });
    double sum = 0;
    for (size_t b = 0; b < blocks; b++) sum += sums[b];
    const double norm = sqrt(sum), factor = c.option(0) / (norm + 1e-6);
    c.out[0].as<double>()[0] = norm;
    c.out[0].as<double>()[1] = factor > 1 ? 1 : factor;  // NaN stays
}

#define FIRTH_INSTANTIATE(T) \
    template void sgd_forward<T>(const Call&); \
    template void adam_forward<T>(const Call&); \
    template void adagrad_forward<T>(const Call&); \
    template void rmsprop_forward<T>(const Call&); \
    template void clip_grad_norm_forward<T>(const Call&);
FIRTH_INSTANTIATE(float)
FIRTH_INSTANTIATE(double)

}  // namespace firth::nn
