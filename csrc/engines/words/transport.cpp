// Successive shortest paths with potentials: each round finds, by Dijkstra's algorithm over the
// whole matrix, the cheapest path from a source that has something left to a sink that lacks
// something (backwards where goods already flow), and sends along it what fits. Amounts are whole
// numbers, so the flow is exact and the end is certain.
#include "engines/words/transport.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace firth::words {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr size_t kNone = std::numeric_limits<size_t>::max();

// One side of the graph: sources or sinks.
struct Side {
    std::vector<double> distance, potential;
    std::vector<size_t> parent;  // on the other side
    std::vector<char> done;

    explicit Side(size_t count)
        : distance(count), potential(count), parent(count, kNone), done(count) {}

    void restart() {
        std::fill(distance.begin(), distance.end(), kInfinity);
        std::fill(parent.begin(), parent.end(), kNone);
        std::fill(done.begin(), done.end(), 0);
    }
    size_t nearest() const {
        size_t best = kNone;
        for (size_t i = 0; i < distance.size(); i++)
            if (!done[i] && distance[i] < kInfinity &&
                (best == kNone || distance[i] < distance[best]))
                best = i;
        return best;
    }
    void reach(size_t i, double d, size_t from) {
        if (!done[i] && d < distance[i]) {
            distance[i] = d;
            parent[i] = from;
        }
    }
    void raise(double most) {
        for (size_t i = 0; i < distance.size(); i++) potential[i] += std::min(distance[i], most);
    }
};

}  // namespace

double transport(const double* costs, size_t n, size_t m, int64_t* supply, int64_t* demand) {
    std::vector<int64_t> flow(n * m);
    Side sources(n), sinks(m);
    // Reduced cost of i -> j: cost + potential of i - potential of j, never below 0, and 0 where
    // goods flow. It holds at first with each sink's cheapest source, which is used as far as it
    // goes.
    for (size_t j = 0; j < m; j++) {
        size_t cheapest = 0;
        for (size_t i = 1; i < n; i++)
            if (costs[i * m + j] < costs[cheapest * m + j]) cheapest = i;
        sinks.potential[j] = costs[cheapest * m + j];
        const int64_t amount = std::min(supply[cheapest], demand[j]);
        flow[cheapest * m + j] = amount;
        supply[cheapest] -= amount;
        demand[j] -= amount;
    }
    for (;;) {
        sources.restart();
        sinks.restart();
        for (size_t i = 0; i < n; i++)
            if (supply[i] > 0) sources.distance[i] = 0;
        size_t end = kNone;
        for (;;) {
            const size_t i = sources.nearest(), j = sinks.nearest();
            if (i == kNone && j == kNone) break;
            if (j == kNone || (i != kNone && sources.distance[i] <= sinks.distance[j])) {
                sources.done[i] = 1;
                const double base = sources.distance[i] + sources.potential[i];
                for (size_t to = 0; to < m; to++)
                    sinks.reach(to,
                                std::max(sources.distance[i],
                                         base + costs[i * m + to] - sinks.potential[to]),
                                i);
            } else {
                if (demand[j] > 0) {
                    end = j;
                    break;
                }
                sinks.done[j] = 1;
                for (size_t to = 0; to < n; to++)
                    if (flow[to * m + j] > 0) sources.reach(to, sinks.distance[j], j);
            }
        }
        if (end == kNone) break;  // nothing is left
        const double reached = sinks.distance[end];
        sources.raise(reached);
        sinks.raise(reached);

        int64_t amount = demand[end];
        size_t start = kNone;
        for (size_t j = end; j != kNone; j = sources.parent[start]) {
            start = sinks.parent[j];
            const size_t back = sources.parent[start];
            amount = std::min(amount, back == kNone ? supply[start] : flow[start * m + back]);
        }
        for (size_t j = end; j != kNone;) {
            const size_t i = sinks.parent[j];
            flow[i * m + j] += amount;
            j = sources.parent[i];
            if (j != kNone) flow[i * m + j] -= amount;
        }
        supply[start] -= amount;
        demand[end] -= amount;
    }
    double total = 0;
    for (size_t k = 0; k < n * m; k++) total += static_cast<double>(flow[k]) * costs[k];
    return total;
}

}  // namespace firth::words
