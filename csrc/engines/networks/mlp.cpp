#include "engines/networks/mlp.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "engines/gemm.h"
#include "engines/nn/activation.h"
#include "memory.h"
#include "random.h"

namespace firth::networks {
namespace {

constexpr double kUpdateCost = 16, kMaskCost = 8;  // of an element, in operations of for_items
constexpr size_t kNarrow = 12;  // columns, of float and double: at most a register tile's rows
constexpr uint64_t kGolden = 0x9e3779b97f4a7c15ull;

template <class T>
class Trainer final : public MlpTrainer {
  public:
    Trainer(const Kernels& kernels, const MlpRule& rule, const MlpData<T>& data, size_t most_batch)
        : kernels_(kernels), rule_(rule), data_(data), layers_(rule.units.size() - 1) {
        const std::vector<size_t>& units = rule_.units;
        size_t at = 0, widest = 0;
        for (size_t l = 0; l < layers_; l++) {
            coefs_.push_back(at);
            at += units[l] * units[l + 1];
            widest = std::max(widest, units[l + 1]);
        }
        all_coefs_ = at;
        for (size_t l = 0; l < layers_; l++) {
            intercepts_.push_back(at);
            at += units[l + 1];
        }
        all_ = at;
        for (const size_t width : units) a_.push_back(room(firth::product(most_batch, width)));
        for (size_t l = 1; l < layers_; l++)
            masks_.push_back(rule_.dropout > 0 ? room(firth::product(most_batch, units[l]))
                                               : nullptr);
        y_ = room(firth::product(most_batch, units.back()));
        weights_ = room(most_batch);
        delta_ = room(firth::product(most_batch, widest));
        next_delta_ = room(firth::product(most_batch, widest));
        gradient_ = room(all_);
    }

    Done run(const int64_t* rows, size_t count, size_t batch, const double* rates,
             uint64_t steps) override {
        const int threads = num_threads();
        if (threads > 1 && 2.0 * double(batch) * double(all_coefs_) > kSerialFlops)
            keep_threads_awake();
        const nn::Call call{kernels_, threads, false, false, 0, nullptr, 0,       nullptr,
                            nullptr,  nullptr, 0,     0,     0, nullptr, nullptr, 0};
        Done done{0, steps};
        for (size_t begin = 0; begin < count; begin += batch) {
            const size_t m = std::min(batch, count - begin);
            const double total = gather(rows + begin, m);
            const double rate = *rates++;
            if (std::isnan(total)) continue;  // all weights are 0: it says nothing
            forward(call, m, done.steps);
            done.loss += loss(m, total) * double(m);
            backward(call, m);
            update(call, total, rate, ++done.steps);
        }
        return done;
    }

  private:
    T* room(size_t n) {
        buffers_.emplace_back(firth::product(std::max(n, size_t(1)), sizeof(T)));
        return reinterpret_cast<T*>(buffers_.back().data());
    }

    // The batch, and the sum of its weights; NaN where all are 0.
    double gather(const int64_t* rows, size_t m) {
        const size_t d = rule_.units.front(), k = rule_.units.back();
        double total = 0;
        bool some = !data_.weights;
        for (size_t i = 0; i < m; i++) {
            const size_t row = static_cast<size_t>(rows[i]);
            std::memcpy(a_[0] + i * d, data_.x + row * d, d * sizeof(T));
            std::memcpy(y_ + i * k, data_.y + row * k, k * sizeof(T));
            if (!data_.weights) continue;
            weights_[i] = data_.weights[row];
            total += double(weights_[i]);
            some = some || weights_[i] != 0;
        }
        if (!data_.weights) return double(m);
        return some ? total : std::numeric_limits<double>::quiet_NaN();
    }

    // c (m x n) = f(a b + bias), f: kNone or kRelu; bias: n, or null.
    void multiply(const nn::Matrix<T>& a, const nn::Matrix<T>& b, T* c, size_t m, size_t k,
                  size_t n, const T* bias = nullptr, int activation = kNone) {
        const auto operand = [](const nn::Matrix<T>& x, bool turned) {
            return Operand{reinterpret_cast<const char*>(x.data), x.stride * ptrdiff_t(sizeof(T)),
                           x.transposed != turned};
        };
        const Gemm& type = sizeof(T) == 4 ? kernels_.gemm_f32 : kernels_.gemm_f64;
        if (n > kNarrow || m < 4 * kNarrow) {
            Epilogue epilogue{};
            epilogue.scale = 1;
            epilogue.bias = bias;
            epilogue.activation = activation;
            return gemm(type, operand(a, false), operand(b, false),
                        {reinterpret_cast<char*>(c), ptrdiff_t(n), bias ? &epilogue : nullptr}, m,
                        k, n);
        }
        // Columns come in vectors: of a narrow result the transpose is the faster one.
        const Scratch scratch(m * n * sizeof(T));
        T* turned = scratch.data<T>();
        gemm(type, operand(b, true), operand(a, true),
             {reinterpret_cast<char*>(turned), ptrdiff_t(m), nullptr}, n, k, m);
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < n; j++) {
                const T z = turned[j * m + i] + (bias ? bias[j] : T(0));
                c[i * n + j] = activation == kRelu && z < 0 ? T(0) : z;
            }
    }

    void forward(const nn::Call& call, size_t m, uint64_t step) {
        for (size_t l = 0; l < layers_; l++) {
            const size_t before = rule_.units[l], after = rule_.units[l + 1];
            const bool last = l + 1 == layers_;
            const int fused = !last && rule_.activation == kRelu ? kRelu : kNone;
            T* z = a_[l + 1];
            multiply({a_[l], ptrdiff_t(before)}, {data_.values + coefs_[l], ptrdiff_t(after)}, z, m,
                     before, after, data_.values + intercepts_[l], fused);
            if (last) {
                if (rule_.output == MlpOutput::logistic)
                    nn::activate(call, z, z, m * after, kSigmoid, 0);
                else if (rule_.output == MlpOutput::softmax)
                    kernels_.of<T>().softmax(z, ptrdiff_t(after), 1, z, ptrdiff_t(after), m, after);
                else if (rule_.output == MlpOutput::exponential)
                    for (size_t i = 0; i < m * after; i++) z[i] = std::exp(z[i]);
                return;
            }
            if (rule_.activation == kTanh || rule_.activation == kSigmoid)
                nn::activate(call, z, z, m * after, rule_.activation, 0);
            if (rule_.dropout > 0) drop(call, l, m * after, step);
        }
    }

    // Leaves out units of hidden layer l with probability `dropout`, makes the others larger.
    void drop(const nn::Call& call, size_t l, size_t n, uint64_t step) {
        const uint64_t of_step = SplitMix64{rule_.seed + step}.next();
        const uint64_t stream = SplitMix64{of_step + l}.next();
        const auto least = static_cast<uint64_t>(std::nearbyint(rule_.dropout * double(1 << 24)));
        const T factor = T(1 / (1 - rule_.dropout));
        T *mask = masks_[l], *a = a_[l + 1];
        nn::for_items(call, n, kMaskCost, [&](size_t begin, size_t end) {
            for (size_t i = begin; i < end; i++) {
                mask[i] = SplitMix64{stream + i * kGolden}.next() >> 40 < least ? T(0) : factor;
                a[i] *= mask[i];
            }
        });
    }

    // The mean loss with its penalty; delta_ becomes the gradient by the last layer, times total.
    double loss(size_t m, double total) {
        const size_t k = rule_.units.back();
        const T* p = a_.back();
        const double least = double(std::numeric_limits<T>::epsilon());
        double sum = 0;
        for (size_t i = 0; i < m; i++) {
            const double weight = data_.weights ? double(weights_[i]) : 1;
            double of_row = 0;
            for (size_t j = i * k; j < (i + 1) * k; j++) {
                of_row += one_loss(double(y_[j]), double(p[j]), least);
                delta_[j] = (p[j] - y_[j]) * T(weight);
            }
            sum += weight * of_row;
        }
        if (rule_.output == MlpOutput::identity) sum /= 2 * double(k);
        const double penalty =
            rule_.alpha > 0 ? kernels_.of<T>().sum_of_squares(data_.values, all_coefs_) : 0;
        return (sum + 0.5 * rule_.alpha * penalty) / total;
    }

    double one_loss(double y, double p, double least) const {
        switch (rule_.output) {
            case MlpOutput::identity:
                return (y - p) * (y - p);
            case MlpOutput::exponential:
                return (y > 0 ? y * std::log(y / p) : 0) - y + p;
            case MlpOutput::logistic:
                p = std::min(std::max(p, least), 1 - least);
                return -std::log(y > 0 ? p : 1 - p);
            default:
                return y > 0 ? -std::log(std::min(std::max(p, least), 1 - least)) : 0;
        }
    }

    // gradient_: by all weights, times total and without the penalty's.
    void backward(const nn::Call& call, size_t m) {
        for (size_t l = layers_; l-- > 0;) {
            const size_t before = rule_.units[l], after = rule_.units[l + 1];
            multiply({a_[l], ptrdiff_t(before), true}, {delta_, ptrdiff_t(after)},
                     gradient_ + coefs_[l], before, m, after);
            nn::sum_columns(call, delta_, m, after, gradient_ + intercepts_[l], false);
            if (l == 0) return;
            multiply({delta_, ptrdiff_t(after)}, {data_.values + coefs_[l], ptrdiff_t(after), true},
                     next_delta_, m, after, before);
            through(call, l, m * before);
            std::swap(delta_, next_delta_);
        }
    }

    // next_delta_ from behind the function of hidden layer l, 1 is the first, to before it.
    void through(const nn::Call& call, size_t l, size_t n) {
        T *a = a_[l], *delta = next_delta_;
        if (rule_.dropout > 0) {
            const T *mask = masks_[l - 1], kept = T(1 - rule_.dropout);
            for (size_t i = 0; i < n; i++) {
                delta[i] *= mask[i];
                a[i] *= kept;  // as it was before others were left out; where left out, no matter
            }
        }
        if (rule_.activation != kNone)
            nn::activate_backward<T>(call, delta, nullptr, a, delta, n, rule_.activation, 0, false);
    }

    void update(const nn::Call& call, double total, double rate, uint64_t step) {
        const auto& kernels = kernels_.of<T>();
        if (rule_.adam) {
            const double t = double(step);
            rate *= std::sqrt(1 - std::pow(rule_.beta_2, t)) / (1 - std::pow(rule_.beta_1, t));
        }
        const auto range = [&](size_t from, size_t n, double alpha) {
            // SGD's buffer is that of gradients times their rates.
            const AdamStep adam{1 / total, rate,          rule_.beta_1,  rule_.beta_2,
                                1,         rule_.epsilon, alpha / total, 1};
            const SgdStep sgd{rate / total,  1, rule_.momentum, 1, rate * alpha / total,
                              rule_.nesterov};
            nn::for_items(call, n, kUpdateCost, [&](size_t begin, size_t end) {
                const size_t at = from + begin;
                if (rule_.adam)
                    kernels.adam_step(data_.values + at, gradient_ + at, data_.first + at,
                                      data_.second + at, end - begin, adam);
                else
                    kernels.sgd_step(data_.values + at, gradient_ + at, data_.first + at,
                                     end - begin, sgd);
            });
        };
        range(0, all_coefs_, rule_.alpha);
        range(all_coefs_, all_ - all_coefs_, 0);
    }

    const Kernels& kernels_;
    const MlpRule rule_;
    const MlpData<T> data_;
    const size_t layers_;
    std::vector<size_t> coefs_, intercepts_;  // of each layer: where they begin
    size_t all_coefs_, all_;
    std::vector<AlignedBuffer> buffers_;
    std::vector<T*> a_, masks_;  // of the batch: values of each layer, X the first; of each hidden
    T *y_, *weights_, *delta_, *next_delta_, *gradient_;
};

}  // namespace

size_t mlp_size(const std::vector<size_t>& units) {
    size_t n = 0;
    for (size_t l = 0; l + 1 < units.size(); l++) n += (units[l] + 1) * units[l + 1];
    return n;
}

template <class T>
std::unique_ptr<MlpTrainer> make_mlp_trainer(const Kernels& kernels, const MlpRule& rule,
                                             const MlpData<T>& data, size_t most_batch) {
    return std::make_unique<Trainer<T>>(kernels, rule, data, most_batch);
}

template std::unique_ptr<MlpTrainer> make_mlp_trainer(const Kernels&, const MlpRule&,
                                                      const MlpData<float>&, size_t);
template std::unique_ptr<MlpTrainer> make_mlp_trainer(const Kernels&, const MlpRule&,
                                                      const MlpData<double>&, size_t);

}  // namespace firth::networks
