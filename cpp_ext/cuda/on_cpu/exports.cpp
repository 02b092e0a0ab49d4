// The device code on the CPU, for Python's ctypes. A function that returns a text returns null if it succeeds, and
// otherwise the error's message.
#include "arithmetic.h"
#include "cuda.h"

namespace {

using namespace gp::cuda;

template <class Work>
const char* guarded(const Work& work) {
  static std::string message;
  try {
    work();
    return nullptr;
  } catch (const std::exception& problem) {
    message = problem.what();
    return message.c_str();
  }
}

template <class To, class From>
std::vector<To> list(From* first, int count) {
  return std::vector<To>(first, first + count);
}

}  // namespace

extern "C" {

void set_device(int order, int multiprocessors, int shared_bytes, int major) {
  on_cpu::settings = {static_cast<on_cpu::Order>(order), multiprocessors, shared_bytes, major};
}

const char* make_bank(int64_t width, int precision, Bank** bank) {
  return guarded([&] { *bank = new Bank(width, static_cast<Precision>(precision)); });
}

const char* append(Bank* bank, const void* rows, int type, int64_t count) {
  return guarded([&] { bank->append(rows, static_cast<Type>(type), count, false, nullptr); });
}

int64_t rows_of(const Bank* bank) { return bank->rows(); }
void free_bank(Bank* bank) { delete bank; }

const char* make_search(Bank** banks, int count, int64_t most, Search** search) {
  return guarded([&] { *search = new Search(list<const Bank*>(banks, count), most); });
}

const char* run_search(const Search* search, int banks, const void** queries, int type, int64_t count, float** product,
                       int64_t** index, void* stream) {
  return guarded([&] {
    search->run(list<const void*>(queries, banks), static_cast<Type>(type), count, list<float*>(product, banks),
                list<int64_t*>(index, banks), stream);
  });
}

void free_search(const Search* search) { delete search; }

const char* make_scorer(Bank** banks, int bank_count, int64_t width, int64_t height, int64_t columns,
                        const float* image_prompts, const float* pixel_prompts, float temperature, bool maximum_of_map,
                        int fusion, const float** margins, float residual_weight, int64_t views, Scorer** scorer) {
  return guarded([&] {
    const Product product{width,
                          height,
                          columns,
                          image_prompts,
                          pixel_prompts,
                          temperature,
                          list<const Bank*>(banks, bank_count),
                          maximum_of_map,
                          static_cast<gp_fusion>(fusion),
                          margins ? list<const float*>(margins, bank_count) : std::vector<const float*>(),
                          residual_weight};
    *scorer = new Scorer(product, views);
  });
}

// out: the seven arrays in the order of gp_scores.
const char* run_scorer(const Scorer* scorer, int banks, int64_t views, int type, const void* global, const void* local,
                       const void** memory, float** out, void* stream) {
  return guarded([&] {
    scorer->run({views, static_cast<Type>(type), global, local, list<const void*>(memory, banks)},
                {out[0], out[1], out[2], out[3], out[4], out[5], out[6]}, stream);
  });
}

void free_scorer(const Scorer* scorer) { delete scorer; }

const char* resize_frame(const gp_frame* frame, const gp_box* box, int64_t out_width, int64_t out_height, void* out,
                         int device, void* stream) {
  return guarded([&] { resize(*frame, box, out_width, out_height, out, device, stream); });
}

// ---- What tests ask the emulation for, and its captures -------------------------------------------------------------

int use_device(int device) { return cudaSetDevice(device); }
int device_in_use() { return current_device(); }

void take_counts(on_cpu::Counts* counts) { *counts = std::exchange(on_cpu::counts, {}); }

void fail_kernel(const char* name) { on_cpu::failing_kernel = name; }

void begin_capture(void* stream, int mode) {
  on_cpu::keep_freed = true;
  on_cpu::capture = {static_cast<cudaStream_t>(stream),
                     std::this_thread::get_id(),
                     static_cast<cudaStreamCaptureMode>(mode),
                     false,
                     {}};
}

// Return the captured graph, or null if a call that is forbidden during a capture ended it.
on_cpu::Graph* end_capture() {
  const on_cpu::Capture done = std::exchange(on_cpu::capture, {});
  return done.ended ? nullptr : new on_cpu::Graph(done.work);
}

void replay(const on_cpu::Graph* graph) {
  for (const auto& work : *graph) work();
}

const char* allocate(int64_t bytes) {
  return guarded([&] { Array(bytes, current_device()); });
}

uint64_t key(float product, uint32_t row) { return key_of(product, row); }
float product(uint64_t value) { return product_of(value); }
int64_t row(uint64_t value) { return row_of(value); }

int segment(int segments, int row, int number) {
  return segments == 4 ? segment_at<4>(row, number) : segment_at<8>(row, number);
}

// Round values [count] to halves `to` [count], and convert these back to floats `back` [count].
void halves(const float* values, int64_t count, uint16_t* to, float* back) {
  for (int64_t at = 0; at < count; ++at) back[at] = from_half(to[at] = to_half(values[at]));
}

void bfloats(const float* values, int64_t count, uint16_t* to, float* back) {
  for (int64_t at = 0; at < count; ++at) back[at] = from_bfloat(to[at] = to_bfloat(values[at]));
}

}  // extern "C"
