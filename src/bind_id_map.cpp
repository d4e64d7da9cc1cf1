// Bindings of the table from ids to slots (python/firth/search/index.py).
#include "bindings.h"
#include "engines/search/id_map.h"

namespace firth {

using namespace search;

namespace {

using Numbers = array<int64_t>;

size_t length(const char* function, const char* name, const Numbers& numbers) {
    if (numbers.ndim() != 1)
        throw py::value_error(std::string("IdMap.") + function + ": " + name +
                              " must have shape (n,)");
    return static_cast<size_t>(numbers.shape(0));
}

Numbers set(IdMap& self, const Numbers& labels, const Numbers& slots) {
    const size_t count = length("set", "labels", labels);
    if (length("set", "slots", slots) != count)
        throw py::value_error("IdMap.set: want one slot a label");
    const int64_t* const where = slots.data();
    for (size_t i = 0; i < count; i++)
        if (where[i] < 0) throw py::value_error("IdMap.set: slots must be at least 0");
    Numbers previous(labels.shape(0));
    int64_t* const out = previous.mutable_data();
    const int64_t* const in = labels.data();
    {
        WithoutGil unlocked;
        self.set(in, where, count, out);
    }
    return previous;
}

Numbers find(const IdMap& self, const Numbers& labels) {
    const size_t count = length("find", "labels", labels);
    Numbers slots(labels.shape(0));
    int64_t* const out = slots.mutable_data();
    const int64_t* const in = labels.data();
    {
        WithoutGil unlocked;
        self.find(in, count, out);
    }
    return slots;
}

void remove(IdMap& self, const Numbers& labels) {
    const size_t count = length("remove", "labels", labels);
    const int64_t* const in = labels.data();
    WithoutGil unlocked;
    self.remove(in, count);
}

}  // namespace

void bind_id_map(py::module_& module) {
    py::class_<IdMap>(module, "IdMap")
        .def(py::init<>())
        .def("set", &set, py::arg("labels").noconvert(), py::arg("slots").noconvert())
        .def("find", &find, py::arg("labels").noconvert())
        .def("remove", &remove, py::arg("labels").noconvert())
        .def("__len__", &IdMap::size)
        .def_property_readonly("nbytes", &IdMap::bytes);
}

}  // namespace firth
