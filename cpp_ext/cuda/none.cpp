// This file replaces the device code if goodparts is built without CUDA.
#include "cuda.h"
#include "failure.h"

namespace gp::cuda {
namespace {

[[noreturn]] void refuse() {
  throw Invalid(
      "built without CUDA: build goodparts where nvcc is found, or with -DGOODPARTS_CUDA=ON to see why CUDA fails");
}

}  // namespace

struct Bank::State {};
struct Search::State {};
struct Scorer::State {};

bool built() { return false; }
bool available(std::string* why_not) {
  if (why_not) *why_not = "goodparts is built without CUDA";
  return false;
}
std::string device_name() { refuse(); }
int current_device() { refuse(); }
int device_of(const void*) { refuse(); }

Bank::Bank(int64_t, Precision) { refuse(); }
Bank::~Bank() = default;
void Bank::append(const void*, Type, int64_t, bool, void*) { refuse(); }
int64_t Bank::rows() const { refuse(); }
int64_t Bank::width() const { refuse(); }
Precision Bank::precision() const { refuse(); }
int64_t Bank::bytes() const { refuse(); }
int Bank::device() const { refuse(); }

Search::Search(const std::vector<const Bank*>&, int64_t) { refuse(); }
Search::~Search() = default;
void Search::run(const std::vector<const void*>&, Type, int64_t, const std::vector<float*>&,
                 const std::vector<int64_t*>&, void*) const {
  refuse();
}

Scorer::Scorer(const Product&, int64_t) { refuse(); }
Scorer::~Scorer() = default;
void Scorer::run(const Features&, const gp_scores&, void*) const { refuse(); }

void resize(const gp_frame&, const gp_box*, int64_t, int64_t, void*, int, void*) { refuse(); }

Array::Array(int64_t, int) { refuse(); }
Array::~Array() = default;

}  // namespace gp::cuda
