// The only code that uses threads: a small pool, started on first use.
#pragma once
#include <stddef.h>

namespace firth {

constexpr int kMostThreads = 1024;

// How many threads work together, the calling one included: from 1 to kMostThreads. The first call
// reads the environment and throws std::invalid_argument if FIRTH_NUM_THREADS is not such a number.
int num_threads();
// A count out of range is moved to the nearest in it.
void set_num_threads(int count);

// Threads of the pool do not sleep for a millisecond, and wake if they do: for a caller that is
// about to give them many short jobs.
void keep_threads_awake();

// Calls task(context, i) once for each i in [0, tasks), on the calling thread and on the pool.
// Returns when all are done. A call from inside a task, or while another thread uses the pool, runs
// on the calling thread alone: results must not depend on which thread runs a task.
void parallel_tasks(size_t tasks, int threads, void (*task)(void* context, size_t i),
                    void* context);

// body(begin, end) over disjoint ranges of `grain` items (the last may be shorter) that cover [0,
// n), on at most `threads` threads.
template <class Body>
void parallel_for(size_t n, size_t grain, const Body& body, int threads = num_threads()) {
    struct Job {
        const Body& body;
        size_t n, grain;
    } job{body, n, grain};
    const size_t tasks = (n + grain - 1) / grain;
    parallel_tasks(
        tasks, threads,
        [](void* context, size_t i) {
            const Job& j = *static_cast<const Job*>(context);
            const size_t begin = i * j.grain;
            j.body(begin, begin + j.grain < j.n ? begin + j.grain : j.n);
        },
        &job);
}

}  // namespace firth
