#include "parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#ifdef __linux__
#include <sched.h>
#endif

namespace gp {
namespace {

int processors() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

class Pool {
 public:
  explicit Pool(int helpers) {
#ifdef __linux__
    if (sched_getaffinity(0, sizeof allowed_, &allowed_) != 0) CPU_ZERO(&allowed_);
#endif
    for (int index = 0; index < helpers; ++index) {
      try {
        threads_.emplace_back([this, index] { help(index + 1); });
      } catch (const std::system_error&) {  // no memory for another stack, or too many threads: fewer are enough
        break;
      }
    }
  }

  bool try_run(int threads, const std::function<void(int)>& work) {
    std::unique_lock<std::mutex> busy(busy_, std::try_to_lock);
    if (!busy) return false;
    const int helpers = std::min<int>(threads - 1, static_cast<int>(threads_.size()));
    keep_off_this_processor();
    work_ = &work;
    running_.store(helpers);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      state_.store(((state_.load() >> kHelperBits) + 1) << kHelperBits | static_cast<uint64_t>(helpers));
    }
    wake_.notify_all();
    work(0);
    for (int worker = helpers + 1; worker < threads; ++worker) work(worker);
    const auto finished = [this] { return running_.load() == 0; };
    if (!spin_until(finished)) {
      std::unique_lock<std::mutex> lock(mutex_);
      done_.wait(lock, finished);
    }
    return true;
  }

 private:
  // The kernel tends to put a woken thread on the processor of the thread that woke it. There it waits behind the work
  // that it should share, for some milliseconds, which is longer than most calls take. So keep the helpers off this
  // processor.
  void keep_off_this_processor() {
#ifdef __linux__
    const int here = sched_getcpu();
    if (here < 0 || here == avoided_) return;
    cpu_set_t others = allowed_;
    CPU_CLR(here, &others);
    if (CPU_COUNT(&others) == 0) return;
    for (std::thread& thread : threads_) pthread_setaffinity_np(thread.native_handle(), sizeof others, &others);
    avoided_ = here;
#endif
  }

  // The next call often follows at once, and to sleep and wake up costs as much time as a small call. So spin a while.
  template <class Condition>
  static bool spin_until(const Condition& met) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(100);
    while (!met()) {
      if (std::chrono::steady_clock::now() > end) return false;
      for (int pause = 0; pause < 16; ++pause) std::atomic_signal_fence(std::memory_order_seq_cst);
    }
    return true;
  }

  void help(int worker) {
    for (uint64_t seen = 0;;) {
      const auto called = [&] { return state_.load() != seen; };
      if (!spin_until(called)) {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, called);
      }
      seen = state_.load();
      if (worker > static_cast<int>(seen & ((1u << kHelperBits) - 1))) continue;
      (*work_)(worker);
      if (running_.fetch_sub(1) == 1) {
        std::lock_guard<std::mutex> lock(mutex_);
        done_.notify_one();
      }
    }
  }

  static constexpr int kHelperBits = 16;
#ifdef __linux__
  cpu_set_t allowed_;
  int avoided_ = -1;
#endif
  std::mutex busy_, mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(int)>* work_ = nullptr;
  std::atomic<int> running_{0};
  std::atomic<uint64_t> state_{0};  // the number of the call and how many helpers it wants, read together
  std::vector<std::thread> threads_;
};

// The pool is never destroyed: its threads sleep until the process ends. A forked child does not inherit them and makes
// a pool of its own.
std::atomic<Pool*> current{nullptr};
std::mutex making;

Pool& pool() {
  if (Pool* made = current.load(std::memory_order_acquire)) return *made;
  std::lock_guard<std::mutex> lock(making);
  if (!current.load()) {
#if defined(__unix__) || defined(__APPLE__)
    static const int registered = pthread_atfork([] { making.lock(); }, [] { making.unlock(); },
                                                 [] {
                                                   current.store(nullptr);
                                                   making.unlock();
                                                 });
    (void)registered;
#endif
    current.store(new Pool(processors() - 1), std::memory_order_release);
  }
  return *current.load();
}

}  // namespace

int thread_count(int asked) {
  static const int available = processors();
  return asked <= 0 ? available : std::min(asked, available);
}

void run_on_workers(int threads, const std::function<void(int)>& work) {
  if (threads > 1 && pool().try_run(threads, work)) return;
  for (int worker = 0; worker < threads; ++worker) work(worker);
}

void parallel_for(int64_t count, int threads, const std::function<void(int64_t, int)>& task) {
  threads = static_cast<int>(std::min<int64_t>(threads, count));
  std::atomic<int64_t> next{0};
  run_on_workers(threads, [&](int worker) {
    for (int64_t index; (index = next.fetch_add(1)) < count;) task(index, worker);
  });
}

}  // namespace gp
