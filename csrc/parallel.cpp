// Pool: threads wait for a job, first spinning (a wake-up through the kernel costs about 50 us),
// longer where a caller has said that more jobs follow (keep_awake), then sleeping. A job is a
// counter that every participant advances; a thread that wakes too late finds no job and sleeps
// again, so the caller never waits for a thread that did not start. No OpenMP: two OpenMP runtimes
// in one process are the most reported crash of this field. On Linux the pool's threads are kept
// off the caller's core: the kernel likes to wake a thread where its waker runs, and then a short
// job stays on one core although another is idle.
#include "parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sched.h>
#endif
#ifdef __APPLE__
#include <sys/sysctl.h>
#endif
#ifndef _WIN32
#include <pthread.h>
#endif

namespace firth {
namespace {

struct Job {
    void (*task)(void*, size_t);
    void* context;
    size_t tasks;
    std::atomic<size_t> next{0};
    std::atomic<int> helpers{0};
    std::atomic_flag failed = ATOMIC_FLAG_INIT;
    std::exception_ptr error{};  // the first; the caller throws it when all have stopped

    void work() {
        try {
            for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tasks;)
                task(context, i);
        } catch (...) {
            if (!failed.test_and_set()) error = std::current_exception();
            next.store(tasks, std::memory_order_relaxed);
        }
    }
};

void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

int64_t now() {  // ns
    return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

struct Pool {
    std::mutex mutex;
    std::condition_variable wake;
    Job* job = nullptr;                   // guarded by mutex
    int wanted = 0;                       // helpers the job may still take; guarded by mutex
    std::atomic<unsigned> posted{0};      // counts jobs; spinning threads watch it
    std::atomic<int64_t> awake_until{0};  // no thread sleeps before; of now()
    std::vector<std::thread::native_handle_type> started;  // guarded by busy
    int kept_off = -1;  // the core that the threads are kept off; guarded by busy
    std::atomic_flag busy = ATOMIC_FLAG_INIT;

    void thread_main() {
        unsigned seen = 0;
        for (;;) {
            const int64_t until = now() + 50'000;
            while (posted.load(std::memory_order_acquire) == seen &&
                   now() < std::max(until, awake_until.load(std::memory_order_relaxed)))
                for (int i = 0; i < 32; i++) pause();
            std::unique_lock<std::mutex> lock(mutex);
            wake.wait(lock, [&] { return posted.load(std::memory_order_relaxed) != seen; });
            seen = posted.load(std::memory_order_relaxed);
            if (!job || wanted == 0) continue;
            Job* mine = job;
            wanted--;
            mine->helpers.fetch_add(1, std::memory_order_relaxed);
            lock.unlock();
            mine->work();
            mine->helpers.fetch_sub(1, std::memory_order_release);  // last touch of the job
        }
    }

    // Allows the threads the caller's cores except the one it runs on. A system call only when the
    // caller has moved; with a single core nothing is excluded.
    void keep_off_this_core() {
#ifdef __linux__
        const int core = sched_getcpu();
        if (core < 0 || core == kept_off) return;
        cpu_set_t allowed;
        if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
        if (CPU_COUNT(&allowed) > 1) CPU_CLR(core, &allowed);
        for (const auto thread : started) pthread_setaffinity_np(thread, sizeof allowed, &allowed);
        kept_off = core;
#endif
    }

    // A sleeping thread finds no job, and waits again.
    void keep_awake() {
        constexpr int64_t while_ns = 1'000'000;
        const int64_t last = awake_until.exchange(now() + while_ns, std::memory_order_relaxed);
        if (last - now() > while_ns / 2) return;  // none has begun to sleep since
        {
            std::lock_guard<std::mutex> lock(mutex);
            posted.fetch_add(1, std::memory_order_release);
        }
        wake.notify_all();
    }

    void run(Job& mine, int threads) {
        try {
            while (started.size() + 1 < static_cast<size_t>(threads)) {
                started.reserve(started.size() + 1);
                std::thread thread([this] { thread_main(); });
                started.push_back(thread.native_handle());
                thread.detach();
                kept_off = -1;
            }
        } catch (const std::exception&) {
            // The system gives no more threads: use those that exist.
        }
        keep_off_this_core();
        {
            std::lock_guard<std::mutex> lock(mutex);
            job = &mine;
            wanted = threads - 1;
            posted.fetch_add(1, std::memory_order_release);
        }
        wake.notify_all();
        mine.work();
        {
            std::lock_guard<std::mutex> lock(mutex);
            job = nullptr;
        }
        for (int spins = 0; mine.helpers.load(std::memory_order_acquire) != 0; spins++)
            spins < 10000 ? pause() : std::this_thread::yield();
    }
};

// Never destroyed: its threads may outlive main. After a fork the child has none of the threads, so
// it starts over with a new pool.
Pool* pool = new Pool;
std::atomic<int> thread_count{0};  // 0: not yet decided

#ifndef _WIN32
const int at_fork = pthread_atfork(nullptr, nullptr, [] { pool = new Pool; });
#endif

// The variable's number of threads, or 0 where it is not set. FIRTH_NUM_THREADS must be a number in
// range: a typing error would otherwise go unnoticed. OMP_NUM_THREADS belongs to others: the first
// number of its list counts, and anything else is ignored, as in OpenMP.
int count_from_environment(const char* name, bool strict) {
    const char* const text = std::getenv(name);
    if (!text || !*text) return 0;
    char* end;
    const long value = std::strtol(text, &end, 10);
    const bool number = end != text && (*end == 0 || (!strict && *end == ','));
    if (number && value >= 1 && value <= kMostThreads) return static_cast<int>(value);
    if (strict)
        throw std::invalid_argument(std::string(name) + ": want a whole number from 1 to " +
                                    std::to_string(kMostThreads) + ", got '" + text + "'");
    return 0;
}

// Physical cores that this process may use, within the CPU quota of its cgroup.
int usable_cores() {
    int cores = static_cast<int>(std::thread::hardware_concurrency());
#ifdef __linux__
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
        std::set<std::string> siblings;  // hyperthreads of one core share the text of their list
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
            if (!CPU_ISSET(cpu, &allowed)) continue;
            const std::string id = std::to_string(cpu);
            const std::string path =
                "/sys/devices/system/cpu/cpu" + id + "/topology/thread_siblings_list";
            char text[256] = "";
            if (FILE* file = std::fopen(path.c_str(), "r")) {
                if (!std::fgets(text, sizeof text, file)) text[0] = 0;
                std::fclose(file);
            }
            siblings.insert(text[0] ? text : id);
        }
        cores = static_cast<int>(siblings.size());
    }
    if (FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
        double quota = 0, period = 0;
        if (std::fscanf(file, "%lf %lf", &quota, &period) == 2 && period > 0) {
            const int limit = static_cast<int>(quota / period + 0.999);
            if (limit >= 1 && limit < cores) cores = limit;
        }
        std::fclose(file);
    }
#elif defined(__APPLE__)
    int physical = 0;
    size_t size = sizeof physical;
    if (sysctlbyname("hw.physicalcpu", &physical, &size, nullptr, 0) == 0) cores = physical;
#endif
    return cores > 0 ? cores : 1;
}

}  // namespace

int num_threads() {
    int count = thread_count.load(std::memory_order_relaxed);
    if (count == 0) {
        count = count_from_environment("FIRTH_NUM_THREADS", true);
        if (count == 0) count = count_from_environment("OMP_NUM_THREADS", false);
        if (count == 0) count = usable_cores();
        thread_count.store(count, std::memory_order_relaxed);
    }
    return count;
}

void set_num_threads(int count) {
    thread_count.store(std::clamp(count, 1, kMostThreads), std::memory_order_relaxed);
}

void keep_threads_awake() { pool->keep_awake(); }

void parallel_tasks(size_t tasks, int threads, void (*task)(void*, size_t), void* context) {
    Pool* mine = pool;
    if (tasks < 2 || threads < 2 || mine->busy.test_and_set(std::memory_order_acquire)) {
        for (size_t i = 0; i < tasks; i++) task(context, i);
        return;
    }
    Job job{task, context, tasks};
    mine->run(job, static_cast<int>(std::min(tasks, static_cast<size_t>(threads))));
    mine->busy.clear(std::memory_order_release);
    if (job.error) std::rethrow_exception(job.error);
}

}  // namespace firth
