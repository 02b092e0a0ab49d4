// A pool of threads for the work of one call. Its threads sleep soon after the work is done: if they kept spinning,
// they would slow down the encoder, which runs on the same processors.
#pragma once

#include <cstdint>
#include <functional>

namespace gp {

// Return how many threads may work if the caller asks for this many: at most one for each processor that the process
// may use, and all of these for 0 or less.
int thread_count(int asked);

// Call work(worker) once for each worker from 0 to threads-1, in parallel, and return when all calls have ended. The
// calling thread is worker 0. If the pool is busy with another call, the calling thread does all the work itself.
void run_on_workers(int threads, const std::function<void(int worker)>& work);

// Call task(index, worker) for every index in [0,count), in any order. A worker that is free takes the next index.
void parallel_for(int64_t count, int threads, const std::function<void(int64_t index, int worker)>& task);

}  // namespace gp
