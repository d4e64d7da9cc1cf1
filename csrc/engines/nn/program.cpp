#include "engines/nn/program.h"

#include <stdexcept>
#include <string>
#include <utility>

#include "random.h"

namespace firth::nn {
namespace {

size_t bytes_of(const Array& a, bool f64) {
    const size_t element = a.kind == Kind::byte           ? 1
                           : a.kind == Kind::real && !f64 ? sizeof(float)
                                                          : sizeof(double);
    size_t n = element;
    for (size_t i = 0; i < a.axes; i++) n = firth::product(n, a.shape[i]);
    return n;
}

// Gradients are of real arrays that are there, and have their shape.
bool alike(const std::vector<Array>& gradients, const std::vector<Array>& of) {
    if (gradients.size() != of.size() || of.size() > 64) return false;
    for (size_t i = 0; i < of.size(); i++)
        if (gradients[i] &&
            (!of[i].there || !gradients[i].has_shape_of(of[i]) || gradients[i].kind != Kind::real))
            return false;
    return true;
}

}  // namespace

Program::Program(const Kernels& kernels, bool f64, size_t arena, std::vector<Place> places,
                 std::vector<Instruction> instructions)
    : kernels_(kernels), f64_(f64), arena_(arena), places_(std::move(places)) {
    for (Place& place : places_) {
        place.array.there = true;
        if (place.offset >= 0) {
            const size_t begin = size_t(place.offset), size = bytes_of(place.array, f64);
            if (begin > arena || size > arena - begin || begin % 64)
                throw std::invalid_argument("program: an array is not in the arena");
            place.array.data = arena_.data() + begin;
            place.array.writeable = true;
        }
    }
    const auto arrays = [&](const std::vector<int>& numbers) {
        std::vector<Array> result;
        for (const int i : numbers) {
            if (i != kAbsent && (i < 0 || size_t(i) >= places_.size()))
                throw std::invalid_argument("program: an array has a number out of range");
            result.push_back(i == kAbsent ? Array{} : places_[size_t(i)].array);
        }
        return result;
    };
    ready_.reserve(instructions.size());
    uses_.resize(places_.size());
    written_.resize(places_.size());
    for (Instruction& of : instructions) {
        ready_.push_back({of.operation, of.backward, of.bfloat16, of.draws, of.draw, of.add,
                          std::move(of.options), arrays(of.in), arrays(of.out), arrays(of.saved),
                          arrays(of.dout), arrays(of.din)});
        Ready& ready = ready_.back();
        const auto use = [&](const std::vector<int>& numbers, std::vector<Array>& from) {
            for (size_t i = 0; i < numbers.size(); i++)
                if (numbers[i] != kAbsent && outside(size_t(numbers[i])))
                    uses_[size_t(numbers[i])].push_back(&from[i]);
        };
        use(of.in, ready.in);
        use(of.out, ready.out);
        use(of.saved, ready.saved);
        use(of.dout, ready.dout);
        use(of.din, ready.din);
        const auto write = [&](const std::vector<int>& numbers) {
            for (const int i : numbers) {
                if (i == kAbsent || !places_[size_t(i)].array) continue;
                if (!places_[size_t(i)].array.writeable)
                    throw std::invalid_argument("program: an array to be written is read-only");
                written_[size_t(i)] = true;
            }
        };
        if (!of.operation->backward_f32) write(of.in);  // an update
        write(of.backward ? of.din : of.out);
        if (!of.backward) write(of.saved);
        const bool gradients =
            !of.backward || (of.operation->backward_f32 && alike(ready.dout, ready.out) &&
                             alike(ready.din, ready.in));
        if (!gradients || !of.operation->fits(call(ready, 0)))
            throw std::invalid_argument(std::string("program: a call does not fit ") +
                                        of.operation->name);
    }
}

void Program::bind(size_t place, void* data) {
    places_[place].array.data = data;
    for (Array* use : uses_[place]) use->data = data;
}

Call Program::call(const Ready& r, uint64_t seed) const {
    return {kernels_,
            num_threads(),
            r.backward,
            r.bfloat16,
            seed,
            r.options.data(),
            r.options.size(),
            r.in.data(),
            r.out.data(),
            r.saved.data(),
            r.in.size(),
            r.out.size(),
            r.saved.size(),
            r.backward ? r.dout.data() : nullptr,
            r.backward ? r.din.data() : nullptr,
            r.add,
            f64_};
}

void Program::run(uint64_t seed) {
    for (const Ready& ready : ready_) {
        const Call now = call(ready, ready.draws ? SplitMix64{seed + ready.draw}.next() : 0);
        const Operation& operation = *ready.operation;
        (ready.backward ? f64_ ? operation.backward_f64 : operation.backward_f32
         : f64_         ? operation.forward_f64
                        : operation.forward_f32)(now);
    }
}

}  // namespace firth::nn
