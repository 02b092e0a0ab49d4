// Work shared among a few threads that sleep soon after there is none: idle spinning would cost the encoder beside
// them.
#pragma once

#include <cstdint>
#include <functional>

namespace gp {

// How many threads may work when `asked` are asked for; 0 asks for as many as there are processors.
int thread_count(int asked);

// Calls work(worker) on `threads` workers, 0 … threads-1, this thread among them, and returns when all have. A call
// while another one is under way runs its workers one after the other on its own thread.
void run_on_workers(int threads, const std::function<void(int worker)>& work);

// Calls task(index, worker) for every index in [0,count), in any order; what is free takes the next.
void parallel_for(int64_t count, int threads, const std::function<void(int64_t index, int worker)>& task);

}  // namespace gp
