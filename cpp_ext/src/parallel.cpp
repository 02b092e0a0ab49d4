#include "parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
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
    for (int index = 0; index < helpers; ++index) threads_.emplace_back([this, index] { help(index + 1); });
  }

  bool try_run(int threads, const std::function<void(int)>& work) {
    std::unique_lock<std::mutex> busy(busy_, std::try_to_lock);
    if (!busy) return false;
    const int helpers = std::min<int>(threads - 1, static_cast<int>(threads_.size()));
    {
      std::lock_guard<std::mutex> lock(mutex_);
      work_ = &work;
      wanted_ = helpers;
      running_ = helpers;
      ++round_;
    }
    wake_.notify_all();
    work(0);
    for (int worker = helpers + 1; worker < threads; ++worker) work(worker);
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return running_ == 0; });
    return true;
  }

 private:
  void help(int worker) {
    uint64_t seen = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return round_ != seen; });
      seen = round_;
      if (worker > wanted_) continue;
      const auto* work = work_;
      lock.unlock();
      (*work)(worker);
      lock.lock();
      if (--running_ == 0) done_.notify_one();
    }
  }

  std::mutex busy_, mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(int)>* work_ = nullptr;
  int wanted_ = 0, running_ = 0;
  uint64_t round_ = 0;
  std::vector<std::thread> threads_;
};

// Never destroyed: its threads sleep until the process ends. A forked child has none of them and makes its own.
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
