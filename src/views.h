// Arrays and buffers of Python as pointers and sizes, checked; and results that become arrays
// without a copy.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace firth {

namespace py = pybind11;

// C-contiguous arrays of exactly this dtype: a wrong one is a TypeError, never a silent copy.
template <class T>
using array = py::array_t<T, py::array::c_style>;

template <class T>
using Optional = std::optional<array<T>>;

// Calls f(), which waits for the GIL. A daemon thread that wants it while the interpreter shuts
// down never gets it: CPython up to 3.13 then ends the thread by unwinding its stack, which
// terminates the process where it meets a destructor or pybind11's handlers, or frees objects
// beside the thread that has the GIL. Such a thread is caught here and sleeps until the process
// ends, as CPython itself does from 3.14 on. f throws nothing of C++.
template <class F>
auto waiting_for_gil(const F& f) {
    try {
        return f();
    } catch (...) {  // without a rethrow, the unwinding ends here
        for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    }
}

// An attribute of a Python object, which may be a property: code of Python, which frees the GIL.
inline py::object attribute(const py::object& from, const char* name) {
    PyObject* const found =
        waiting_for_gil([&] { return PyObject_GetAttrString(from.ptr(), name); });
    if (!found) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(found);
}
// The same, a C-contiguous array of exactly this dtype.
template <class T>
array<T> attribute(const py::object& from, const char* name) {
    const py::object x = attribute(from, name);
    if (!py::isinstance<array<T>>(x))
        throw py::type_error(std::string(name) + ": want a contiguous array of " +
                             py::cast<std::string>(py::str(py::dtype::of<T>())) + ", got " +
                             py::cast<std::string>(py::repr(py::type::of(x))));
    return py::reinterpret_borrow<array<T>>(x);
}
// The same, or None.
template <class T>
Optional<T> maybe(const py::object& from, const char* name) {
    if (attribute(from, name).is_none()) return std::nullopt;
    return attribute<T>(from, name);
}

// Rows of n contiguous numbers, row r at data + r * stride (in elements, of either sign). T: const
// where they are only read; then they need not be aligned.
template <class T>
struct Rows {
    using Item = std::remove_const_t<T>;
    T* data;
    ptrdiff_t stride;
    size_t rows, n;

    // x: (rows, n), contiguous in the last axis; name: how an error begins
    Rows(const py::array_t<Item>& x, const std::string& name) {
        const ptrdiff_t item = sizeof(T);
        if (x.ndim() != 2 ||
            (x.size() > 0 && ((x.shape(1) > 1 && x.strides(1) != item) || x.strides(0) % item)))
            throw py::value_error(name + ": want 2-D rows, contiguous in the last axis");
        if constexpr (std::is_const_v<T>)
            data = x.data();
        else
            data = py::array_t<Item>(x).mutable_data();
        rows = static_cast<size_t>(x.shape(0));
        n = static_cast<size_t>(x.shape(1));
        stride = x.strides(0) / item;
    }
};

// A vector as an array that owns it.
template <class T>
py::array_t<T> to_array(std::vector<T> values) {
    auto* owned = new std::vector<T>(std::move(values));
    const py::capsule owner(owned, [](void* p) { delete static_cast<std::vector<T>*>(p); });
    return py::array_t<T>({owned->size()}, {sizeof(T)}, owned->data(), owner);
}

// The same of plain structs that consist of numbers U: a row each.
template <class U, class T>
py::array_t<U> to_matrix(std::vector<T> values) {
    auto* owned = new std::vector<T>(std::move(values));
    const py::capsule owner(owned, [](void* p) { delete static_cast<std::vector<T>*>(p); });
    return py::array_t<U>({owned->size(), sizeof(T) / sizeof(U)}, {sizeof(T), sizeof(U)},
                          reinterpret_cast<U*>(owned->data()), owner);
}

// The bytes of any contiguous buffer (bytes, mmap, memoryview), without a copy.
struct Bytes {
    py::buffer_info info;
    const char* data;
    size_t size;

    explicit Bytes(const py::buffer& buffer) : info(buffer.request()) {
        if (info.itemsize != 1 || info.ndim != 1 || (info.size > 1 && info.strides[0] != 1))
            throw py::value_error("want a contiguous buffer of bytes");
        data = static_cast<const char*>(info.ptr);
        size = static_cast<size_t>(info.size);
    }
};

}  // namespace firth
