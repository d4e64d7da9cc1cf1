// Bindings of the gradients of kernels: shape and contiguity checked, GIL dropped.
#include "bindings.h"
#include "parallel.h"

namespace firth {
namespace {

// dy, y, dx: (rows, n), contiguous in the last axis
template <class T, bool kLog>
void softmax_backward(const Level& level, const py::array_t<T>& dy, const py::array_t<T>& y,
                      py::array_t<T>& dx) {
    const Rows<const T> from(dy, "softmax_backward: dy"), result(y, "softmax_backward: y");
    const Rows<T> to(dx, "softmax_backward: dx");
    if (from.rows != result.rows || from.rows != to.rows || from.n != result.n || from.n != to.n)
        throw py::value_error("softmax_backward: shapes of dy, y and dx differ");
    if (from.n == 0) return;
    const auto& of = level->of<T>();
    const auto kernel = kLog ? of.log_softmax_backward : of.softmax_backward;
    WithoutGil unlocked;
    parallel_for(from.rows, (size_t(1) << 17) / from.n + 1, [&](size_t begin, size_t end) {
        const ptrdiff_t first = ptrdiff_t(begin);
        kernel(from.data + first * from.stride, from.stride, result.data + first * result.stride,
               result.stride, to.data + first * to.stride, to.stride, end - begin, from.n);
    });
}

}  // namespace

void bind_backward(py::module_& kernels) {
    const auto level = py::arg("level"), dy = py::arg("dy").noconvert(),
               y = py::arg("y").noconvert(), dx = py::arg("dx").noconvert();
    kernels.def("softmax_backward", &softmax_backward<float, false>, level, dy, y, dx);
    kernels.def("softmax_backward", &softmax_backward<double, false>, level, dy, y, dx);
    kernels.def("log_softmax_backward", &softmax_backward<float, true>, level, dy, y, dx);
    kernels.def("log_softmax_backward", &softmax_backward<double, true>, level, dy, y, dx);
}

}  // namespace firth
