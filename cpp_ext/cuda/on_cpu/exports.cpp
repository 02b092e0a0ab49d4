// The device code on the CPU, for Python's ctypes: every function returns null, or what went wrong.
#include "arithmetic.h"
#include "cuda.h"
#include "map_matrix.h"

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

const char* search(Bank** banks, int count, const void** queries, int type, int64_t query_count, float** product,
                   int64_t** index) {
  return guarded([&] {
    const Search search(list<const Bank*>(banks, count), query_count);
    // What a run leaves behind must not matter to the next: one of large numbers goes before.
    std::vector<std::vector<char>> large;
    for (int bank = 0; bank < count; ++bank)
      large.emplace_back(query_count * banks[bank]->width() * sizeof(float) + 16, 0x40);
    std::vector<const void*> others;
    for (const auto& one : large) others.push_back(one.data());
    for (const auto& some : {others, list<const void*>(queries, count)})
      search.run(some, static_cast<Type>(type), query_count, list<float*>(product, count), list<int64_t*>(index, count),
                 nullptr);
  });
}

// out: as gp_scores.
const char* score(Bank** banks, int bank_count, int64_t width, int64_t height, int64_t columns,
                  const float* image_prompts, const float* pixel_prompts, float temperature, bool maximum_of_map,
                  int fusion, const float** margins, float residual_weight, int64_t views, int type, const void* global,
                  const void* local, const void** memory, float** out, float* map) {
  return guarded([&] {
    Product product{width,
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
    const Scorer scorer(product, views);
    scorer.run({views, static_cast<Type>(type), global, local, list<const void*>(memory, bank_count)},
               {out[0], out[1], out[2], out[3], out[4], out[5], out[6]}, map, nullptr);
  });
}

const char* resize(int format, int64_t width, int64_t height, const gp_box* box, int64_t out_width, int64_t out_height,
                   const void* data, int64_t stride, const void* chroma, int64_t chroma_stride, void* out) {
  return guarded([&] {
    Resize(static_cast<gp_format>(format), width, height, box, out_width, out_height)
        .run(data, stride, chroma, chroma_stride, out, nullptr);
  });
}

uint64_t key(float product, uint32_t row) { return key_of(product, row); }
float product(uint64_t value) { return product_of(value); }
int64_t row(uint64_t value) { return row_of(value); }

int segment(int segments, int row, int number) {
  return segments == 4 ? segment_at<4>(row, number) : segment_at<8>(row, number);
}

// to, back: [count], of float values [count].
void halves(const float* values, int64_t count, uint16_t* to, float* back) {
  for (int64_t at = 0; at < count; ++at) back[at] = from_half(to[at] = to_half(values[at]));
}

void bfloats(const float* values, int64_t count, uint16_t* to, float* back) {
  for (int64_t at = 0; at < count; ++at) back[at] = from_bfloat(to[at] = to_bfloat(values[at]));
}

}  // extern "C"
