// Bindings of the search: segments as Python holds them, and the searches over lists of them.
#include "bindings.h"
#include "engines/search/analogies.h"
#include "engines/search/codes.h"
#include "engines/search/search.h"
#include "sizes.h"

namespace firth {

using namespace search;

namespace {

// A segment and the arrays that it points into.
class HeldSegment {
  public:
    HeldSegment(const py::array& vectors, const std::optional<array<float>>& scales,
                const std::optional<array<int64_t>>& labels, int64_t first_label,
                const std::optional<array<int64_t>>& died, size_t rows, size_t first_slot,
                const std::optional<array<uint8_t>>& codes,
                const std::optional<array<float>>& bounds, size_t coded,
                const std::optional<array<float>>& centre,
                const std::optional<array<int32_t>>& order,
                const std::optional<array<int64_t>>& cell_blocks)
        : held_(py::make_tuple(vectors, scales, labels, died, codes, bounds, centre, order,
                               cell_blocks)) {
        if (vectors.ndim() != 2 || !(vectors.flags() & py::array::c_style))
            throw py::value_error("Segment: vectors must be a C-contiguous matrix");
        const auto capacity = static_cast<size_t>(vectors.shape(0));
        const auto n = static_cast<size_t>(vectors.shape(1));
        const RowType type = type_of(vectors.dtype());
        const auto fits = [&](const auto& one_a_row) {
            return !one_a_row ||
                   (one_a_row->ndim() == 1 && static_cast<size_t>(one_a_row->shape(0)) >= capacity);
        };
        if (rows > capacity || !fits(scales) || !fits(labels) || !fits(died) ||
            (type == RowType::i8) != scales.has_value())
            throw py::value_error("Segment: rows, scales, labels or died do not fit the vectors");
        const size_t units = (n + 3) / 4;
        const size_t blocks =
            order ? static_cast<size_t>(order->size()) / kCodeBlock : coded / kCodeBlock;
        if (coded && (coded > rows || !codes || !bounds || !centre ||
                      static_cast<size_t>(codes->size()) < blocks * units * kCodeBlock * 4 ||
                      static_cast<size_t>(bounds->size()) < blocks * 3 * kCodeBlock ||
                      static_cast<size_t>(centre->size()) != n ||
                      order.has_value() != cell_blocks.has_value()))
            throw py::value_error("Segment: codes, bounds or centre do not fit the coded rows");
        if (coded && (order ? order->size() % kCodeBlock : coded % kCodeBlock))
            throw py::value_error("Segment: blocks of codes must be whole");
        size_t cells = 0;
        if (coded && order) {
            for (size_t lane = 0; lane < blocks * kCodeBlock; lane++)
                if (order->data()[lane] >= static_cast<int64_t>(coded))
                    throw py::value_error("Segment: order names a row that is not coded");
            if (cell_blocks->size() < 1) throw py::value_error("Segment: cell_blocks is empty");
            cells = static_cast<size_t>(cell_blocks->size()) - 1;
            for (size_t c = 0; c <= cells; c++) {
                const int64_t block = cell_blocks->data()[c];
                if (block < (c ? cell_blocks->data()[c - 1] : 0) ||
                    block > static_cast<int64_t>(blocks))
                    throw py::value_error("Segment: cell_blocks must ascend within the blocks");
            }
        }
        segment.keys = {vectors.data(), static_cast<ptrdiff_t>(n),        rows, n,
                        type,           scales ? scales->data() : nullptr};
        segment.first_slot = first_slot;
        segment.labels = labels ? labels->data() : nullptr;
        segment.first_label = first_label;
        segment.died = died ? died->data() : nullptr;
        if (!coded) return;
        segment.codes = codes->data();
        segment.bounds = bounds->data();
        segment.coded = coded;
        segment.blocks = blocks;
        segment.centre = centre->data();
        if (!order) return;
        segment.order = order->data();
        segment.cell_blocks = cell_blocks->data();
        segment.cells = cells;
    }

    static RowType type_of(const py::dtype& dtype) {
        if (dtype.kind() == 'f' && dtype.itemsize() == 4) return RowType::f32;
        if (dtype.kind() == 'f' && dtype.itemsize() == 2) return RowType::f16;
        if (dtype.kind() == 'u' && dtype.itemsize() == 2) return RowType::bf16;
        if (dtype.kind() == 'i' && dtype.itemsize() == 1) return RowType::i8;
        throw py::type_error(
            "Segment: vectors must be float32, float16, uint16 (bfloat16) or int8");
    }

    Segment segment;

  private:
    py::tuple held_;
};

int metric_of(const std::string& name) {
    if (name == "cosine") return kCosine;
    if (name == "ip") return kInnerProduct;
    if (name == "l2") return kL2;
    throw py::value_error("metric must be cosine, ip or l2, got " + name);
}

// The arguments that both searches share, checked, as plain pointers.
struct Arguments {
    std::vector<Segment> segments;
    std::vector<SlotFilter> filters, exclusions;
    Request request;

    // queries: (Q, D); allowed, excluded: each uint8 (a bitmap over slots) or int64 (sorted slots);
    // filter_of, exclusion_of: (Q,), which of them each query has, or -1; cells: (Q, P), those that
    // each query visits, or -1
    Arguments(const std::vector<const HeldSegment*>& held, const std::string& metric,
              const array<float>& queries, int64_t version, const std::vector<py::array>& allowed,
              const std::optional<array<int64_t>>& filter_of,
              const std::vector<py::array>& excluded,
              const std::optional<array<int64_t>>& exclusion_of, int threads, bool exact,
              const std::optional<array<int32_t>>& cells)
        : filters(slot_filters(allowed)), exclusions(slot_filters(excluded)) {
        if (queries.ndim() != 2) throw py::value_error("search: queries must be a matrix");
        const auto count = static_cast<size_t>(queries.shape(0));
        const auto n = static_cast<size_t>(queries.shape(1));
        for (const HeldSegment* segment : held) {
            if (segment->segment.keys.n != n)
                throw py::value_error("search: segments and queries differ in dimension");
            segments.push_back(segment->segment);
        }
        check(filter_of, filters.size(), count);
        check(exclusion_of, exclusions.size(), count);
        if (cells && (cells->ndim() != 2 || static_cast<size_t>(cells->shape(0)) != count))
            throw py::value_error("search: cells must have one row a query");
        request.metric = metric_of(metric);
        request.queries = queries.data();
        request.stride = static_cast<ptrdiff_t>(n);
        request.query_count = count;
        request.n = n;
        request.version = version;
        request.filters = &filters;
        request.filter_of = filter_of ? filter_of->data() : nullptr;
        request.exclusions = &exclusions;
        request.exclusion_of = exclusion_of ? exclusion_of->data() : nullptr;
        request.cells = cells ? cells->data() : nullptr;
        request.probes = cells ? static_cast<size_t>(cells->shape(1)) : 0;
        request.threads = threads;
        request.exact = exact;
    }

  private:
    static std::vector<SlotFilter> slot_filters(const std::vector<py::array>& given) {
        std::vector<SlotFilter> filters;
        for (const py::array& filter : given) {
            const auto size = static_cast<size_t>(filter.size());
            if (filter.ndim() != 1 || !(filter.flags() & py::array::c_style))
                throw py::value_error("search: a filter must be one contiguous axis");
            if (filter.dtype().kind() == 'u' && filter.itemsize() == 1)
                filters.push_back({static_cast<const uint8_t*>(filter.data()), size, nullptr, 0});
            else if (filter.dtype().kind() == 'i' && filter.itemsize() == 8)
                filters.push_back({nullptr, 0, static_cast<const int64_t*>(filter.data()), size});
            else
                throw py::type_error("search: a filter must be uint8 (bitmap) or int64 (slots)");
        }
        return filters;
    }

    static void check(const std::optional<array<int64_t>>& of_query, size_t filters, size_t count) {
        if (!of_query) return;
        if (of_query->ndim() != 1 || static_cast<size_t>(of_query->shape(0)) != count)
            throw py::value_error("search: filter_of must have one entry a query");
        for (size_t q = 0; q < count; q++)
            if (of_query->data()[q] >= static_cast<int64_t>(filters))
                throw py::value_error("search: filter_of has a number without a filter");
    }
};

py::tuple stats_of(const Stats& stats) {
    return py::make_tuple(stats.coded, stats.survivors, stats.scored);
}

py::tuple bind_topk(const Level& level, const std::vector<const HeldSegment*>& segments,
                    const std::string& metric, const array<float>& queries, size_t k,
                    int64_t version, const std::vector<py::array>& filters,
                    const std::optional<array<int64_t>>& filter_of,
                    const std::vector<py::array>& exclusions,
                    const std::optional<array<int64_t>>& exclusion_of, int threads, bool exact,
                    const std::optional<array<int32_t>>& cells) {
    const Arguments arguments(segments, metric, queries, version, filters, filter_of, exclusions,
                              exclusion_of, threads, exact, cells);
    const size_t count = arguments.request.query_count;
    array<int64_t> labels({count, k}), counts(count);
    array<float> scores({count, k});
    int64_t *label = labels.mutable_data(), *counted = counts.mutable_data();
    float* score = scores.mutable_data();
    Stats stats;
    {
        WithoutGil unlocked;
        stats = topk(*level, arguments.segments, arguments.request, k, label, score, counted);
    }
    return py::make_tuple(labels, scores, counts, stats_of(stats));
}

// thresholds: (Q,)
py::tuple bind_range(const Level& level, const std::vector<const HeldSegment*>& segments,
                     const std::string& metric, const array<float>& queries,
                     const array<float>& thresholds, int64_t version,
                     const std::vector<py::array>& filters,
                     const std::optional<array<int64_t>>& filter_of,
                     const std::vector<py::array>& exclusions,
                     const std::optional<array<int64_t>>& exclusion_of, int threads, bool exact,
                     const std::optional<array<int32_t>>& cells) {
    const Arguments arguments(segments, metric, queries, version, filters, filter_of, exclusions,
                              exclusion_of, threads, exact, cells);
    const size_t count = arguments.request.query_count;
    if (thresholds.ndim() != 1 || static_cast<size_t>(thresholds.shape(0)) != count)
        throw py::value_error("search_range: thresholds must have one entry a query");
    std::vector<std::vector<Scored>> found;
    const float* threshold = thresholds.data();
    Stats stats;
    {
        WithoutGil unlocked;
        stats = range(*level, arguments.segments, arguments.request, threshold, found);
    }
    array<int64_t> offsets(count + 1);
    offsets.mutable_data()[0] = 0;
    for (size_t q = 0; q < count; q++)
        offsets.mutable_data()[q + 1] = offsets.data()[q] + static_cast<int64_t>(found[q].size());
    const auto total = static_cast<size_t>(offsets.data()[count]);
    array<int64_t> labels(total);
    array<float> scores(total);
    for (size_t q = 0, i = 0; q < count; q++)
        for (const Scored& one : found[q]) {
            labels.mutable_data()[i] = one.label;
            scores.mutable_data()[i++] = one.score;
        }
    return py::make_tuple(offsets, labels, scores, stats_of(stats));
}

// vectors: (N, D) float32, float16, uint16 (bfloat16) or int8, the latter with scales (N,); centre:
// (D,); order: (blocks * 32,) rows or -1, or None: all rows in order; codes: blocks * ceil(D / 4) *
// 128; bounds: blocks * 96
void bind_code_rows(const Level& level, const py::array& vectors,
                    const std::optional<array<float>>& scales, const std::string& metric,
                    const array<float>& centre, array<uint8_t>& codes, array<float>& bounds,
                    const std::optional<array<int32_t>>& order) {
    if (vectors.ndim() != 2 || !(vectors.flags() & py::array::c_style))
        throw py::value_error("code_rows: vectors must be a C-contiguous matrix");
    const auto rows = static_cast<size_t>(vectors.shape(0));
    const auto n = static_cast<size_t>(vectors.shape(1));
    const RowType type = HeldSegment::type_of(vectors.dtype());
    const size_t blocks =
        order ? static_cast<size_t>(order->size()) / kCodeBlock : divide_up(rows, kCodeBlock);
    if (order && order->size() % static_cast<ptrdiff_t>(kCodeBlock))
        throw py::value_error("code_rows: order must fill whole blocks");
    for (ptrdiff_t i = 0; order && i < order->size(); i++)
        if (order->data()[i] >= static_cast<int64_t>(rows))
            throw py::value_error("code_rows: order has a number without a row");
    if ((type == RowType::i8) != scales.has_value() ||
        (scales && static_cast<size_t>(scales->size()) != rows) ||
        static_cast<size_t>(centre.size()) != n ||
        static_cast<size_t>(codes.size()) != blocks * ((n + 3) / 4) * kCodeBlock * 4 ||
        static_cast<size_t>(bounds.size()) != blocks * 3 * kCodeBlock)
        throw py::value_error("code_rows: scales, centre, codes or bounds do not fit the vectors");
    const KeyRows keys{vectors.data(), static_cast<ptrdiff_t>(n),        rows, n,
                       type,           scales ? scales->data() : nullptr};
    const int chosen = metric_of(metric);
    const float* mean = centre.data();
    uint8_t* code = codes.mutable_data();
    float* bound = bounds.mutable_data();
    const int32_t* lanes = order ? order->data() : nullptr;
    WithoutGil unlocked;
    code_rows(*level, keys, chosen, mean, lanes, blocks, code, bound);
}

// queries: (Q, D); codes: (B, U, 32, 4), bounds: (B, 3, 32) of `rows` rows; centre: (D,); scores:
// (Q,); reach: (Q, rows)
void bind_may_reach(const Level& level, const array<float>& queries, const std::string& metric,
                    const array<uint8_t>& codes, const array<float>& bounds,
                    const array<float>& centre, size_t rows, const array<float>& scores,
                    array<bool>& reach) {
    if (queries.ndim() != 2) throw py::value_error("may_reach: queries must be a matrix");
    const auto count = static_cast<size_t>(queries.shape(0));
    const auto n = static_cast<size_t>(queries.shape(1));
    const size_t blocks = divide_up(rows, kCodeBlock);
    if (n > kMostCodedDimensions || static_cast<size_t>(centre.size()) != n ||
        static_cast<size_t>(codes.size()) != blocks * ((n + 3) / 4) * kCodeBlock * 4 ||
        static_cast<size_t>(bounds.size()) != blocks * 3 * kCodeBlock ||
        static_cast<size_t>(scores.size()) != count ||
        static_cast<size_t>(reach.size()) != count * rows)
        throw py::value_error("may_reach: codes, bounds, centre, scores or reach do not fit");
    const int chosen = metric_of(metric);
    const float *query = queries.data(), *bound = bounds.data(), *mean = centre.data(),
                *score = scores.data();
    const uint8_t* code = codes.data();
    bool* out = reach.mutable_data();
    WithoutGil unlocked;
    may_reach(*level, chosen, query, count, n, code, bound, mean, rows, score, out);
}

// keys: (N, D) float32, float16 or int8, the latter with scales (N,); norms: (N,), of which only
// NaN counts; words: (W, D), of length 1; analogies: (Q, 3), each a, b, c among the words; queries:
// (Q, D); rows: (Q, k); undecided: (Q,)
void bind_analogies(const Level& level, const py::array& keys,
                    const std::optional<array<float>>& scales, const array<bool>& left_out,
                    const array<float>& words, const array<uint32_t>& analogies,
                    const array<float>& queries, array<int64_t>& rows, array<bool>& undecided) {
    if (keys.ndim() != 2 || !(keys.flags() & py::array::c_style))
        throw py::value_error("analogies: keys must be a C-contiguous matrix");
    const auto count = static_cast<size_t>(keys.shape(0)), n = static_cast<size_t>(keys.shape(1));
    const RowType type = HeldSegment::type_of(keys.dtype());
    if ((type == RowType::i8) != scales.has_value() ||
        (scales && static_cast<size_t>(scales->size()) != count) ||
        static_cast<size_t>(left_out.size()) != count || n == 0 || n > kMostAnalogyDimensions)
        throw py::value_error("analogies: scales, left_out or the dimension do not fit the keys");
    const auto is = [](const py::array& x, ptrdiff_t m, size_t length) {
        return x.ndim() == 2 && x.shape(0) == m && static_cast<size_t>(x.shape(1)) == length;
    };
    const ptrdiff_t asked = analogies.size() / 3;
    if (words.ndim() != 2 || !is(words, words.shape(0), n) || !is(analogies, asked, 3) ||
        !is(queries, asked, n) || undecided.size() != asked)
        throw py::value_error("analogies: words, analogies, queries or undecided do not fit");
    const auto k = static_cast<size_t>(rows.ndim() == 2 ? rows.shape(1) : 0);
    if (!is(rows, asked, k) || k == 0 || k > kMostAnalogyRows)
        throw py::value_error("analogies: rows must be 1 to " + std::to_string(kMostAnalogyRows) +
                              " for each analogy");
    const auto* triples = reinterpret_cast<const Analogy*>(analogies.data());
    for (ptrdiff_t i = 0; i < analogies.size(); i++)
        if (analogies.data()[i] >= words.shape(0))
            throw py::value_error("analogies: there is no such word");
    const KeyRows all{keys.data(), static_cast<ptrdiff_t>(n),        count, n,
                      type,        scales ? scales->data() : nullptr};
    const Analogies work{words.data(), triples, queries.data(), static_cast<size_t>(words.shape(0)),
                         static_cast<size_t>(asked)};
    const bool* out = left_out.data();
    int64_t* row = rows.mutable_data();
    bool* unknown = undecided.mutable_data();
    WithoutGil unlocked;
    analogies_topk(*level, all, out, work, k, row, unknown);
}

}  // namespace

void bind_search(py::module_& module, py::module_& kernels) {
    py::class_<HeldSegment>(module, "Segment")
        .def(py::init<const py::array&, const std::optional<array<float>>&,
                      const std::optional<array<int64_t>>&, int64_t,
                      const std::optional<array<int64_t>>&, size_t, size_t,
                      const std::optional<array<uint8_t>>&, const std::optional<array<float>>&,
                      size_t, const std::optional<array<float>>&,
                      const std::optional<array<int32_t>>&, const std::optional<array<int64_t>>&>(),
             py::arg("vectors"), py::kw_only(), py::arg("scales").noconvert() = py::none(),
             py::arg("labels").noconvert() = py::none(), py::arg("first_label") = 0,
             py::arg("died").noconvert() = py::none(), py::arg("rows"), py::arg("first_slot"),
             py::arg("codes").noconvert() = py::none(), py::arg("bounds").noconvert() = py::none(),
             py::arg("coded") = 0, py::arg("centre").noconvert() = py::none(),
             py::arg("order").noconvert() = py::none(),
             py::arg("cell_blocks").noconvert() = py::none());
    const auto queries = py::arg("queries").noconvert(),
               filter_of = py::arg("filter_of").noconvert(),
               exclusion_of = py::arg("exclusion_of").noconvert(), threads = py::arg("threads");
    const auto cells = py::arg("cells").noconvert() = py::none();
    module.def("search", &bind_topk, py::arg("level"), py::arg("segments"), py::arg("metric"),
               queries, py::arg("k"), py::arg("version"), py::arg("filters"), filter_of,
               py::arg("exclusions"), exclusion_of, threads, py::arg("exact") = false, cells);
    module.def("search_range", &bind_range, py::arg("level"), py::arg("segments"),
               py::arg("metric"), queries, py::arg("thresholds").noconvert(), py::arg("version"),
               py::arg("filters"), filter_of, py::arg("exclusions"), exclusion_of, threads,
               py::arg("exact") = false, cells);
    module.def("analogies", &bind_analogies, py::arg("level"), py::arg("keys"),
               py::arg("scales").noconvert(), py::arg("left_out").noconvert(),
               py::arg("words").noconvert(), py::arg("analogies").noconvert(), queries,
               py::arg("rows").noconvert(), py::arg("undecided").noconvert());
    kernels.def("may_reach", &bind_may_reach, py::arg("level"), queries, py::arg("metric"),
                py::arg("codes").noconvert(), py::arg("bounds").noconvert(),
                py::arg("centre").noconvert(), py::arg("rows"), py::arg("scores").noconvert(),
                py::arg("reach").noconvert());
    kernels.def("code_rows", &bind_code_rows, py::arg("level"), py::arg("vectors"),
                py::arg("scales").noconvert(), py::arg("metric"), py::arg("centre").noconvert(),
                py::arg("codes").noconvert(), py::arg("bounds").noconvert(),
                py::arg("order").noconvert() = py::none());
}

}  // namespace firth
