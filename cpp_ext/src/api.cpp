// The functions of goodparts.h.
#include "failure.h"
#include "goodparts.h"
#include "guard.h"
#include "isa.h"
#include "preprocess.h"
#include "score.h"
#include "search.h"

struct gp_scorer {
  gp::Scorer scorer;
};

extern "C" {

int gp_api_version(void) { return GP_API_VERSION; }
const char* gp_version(void) { return GOODPARTS_VERSION; }
const char* gp_isa(void) { return gp::isa_name(); }

bool gp_resize(const gp_frame* frame, const gp_box* box, uint8_t* out, int64_t out_width, int64_t out_height,
               int threads, gp_error* error) {
  return gp::guarded(error, [&] {
    gp::require(frame != nullptr, "frame is null");
    gp::resize(*frame, box, out, out_width, out_height, threads);
  });
}

gp_bank* gp_bank_create(int64_t width, gp_precision precision, gp_error* error) {
  return gp::created<gp_bank>(error, [&] { return new gp_bank{gp::Bank(width, precision)}; });
}

void gp_bank_free(gp_bank* bank) { delete bank; }

bool gp_bank_append(gp_bank* bank, const float* rows, int64_t count, gp_error* error) {
  return gp::guarded(error, [&] {
    gp::require(bank != nullptr, "bank is null");
    bank->bank.append(rows, count);
  });
}

int64_t gp_bank_rows(const gp_bank* bank) { return bank ? bank->bank.rows() : 0; }
int64_t gp_bank_width(const gp_bank* bank) { return bank ? bank->bank.width() : 0; }
int64_t gp_bank_bytes(const gp_bank* bank) { return bank ? bank->bank.bytes() : 0; }
float gp_bank_error_bound(const gp_bank* bank, float peak) { return bank ? bank->bank.error_bound(peak) : 0; }

bool gp_bank_search(const gp_bank* bank, const float* queries, int64_t count, float* out_product, int64_t* out_index,
                    int threads, gp_error* error) {
  return gp::guarded(error, [&] {
    gp::require(bank != nullptr, "bank is null");
    bank->bank.search(queries, count, out_product, out_index, threads);
  });
}

bool gp_bank_partition(gp_bank* bank, const float* queries, int64_t count, float recall, int threads, float* out_recall,
                       gp_error* error) {
  return gp::guarded(error, [&] {
    gp::require(bank != nullptr, "bank is null");
    const float measured = bank->bank.partition(queries, count, recall, threads);
    if (out_recall) *out_recall = measured;
  });
}

gp_scorer* gp_scorer_create(const gp_product* product, gp_error* error) {
  return gp::created<gp_scorer>(error, [&] {
    gp::require(product != nullptr, "product is null");
    return new gp_scorer{gp::Scorer(*product)};
  });
}

void gp_scorer_free(gp_scorer* scorer) { delete scorer; }

bool gp_scorer_run(const gp_scorer* scorer, const gp_features* features, const gp_scores* out, int threads,
                   gp_error* error) {
  return gp::guarded(error, [&] {
    gp::require(scorer && features && out, "scorer, features or out is null");
    scorer->scorer.run(*features, *out, threads);
  });
}

bool gp_anomaly_map(const float* grid, int64_t grid_height, int64_t grid_width, float* out, int64_t size, float sigma,
                    gp_error* error) {
  return gp::guarded(error, [&] { gp::anomaly_map(grid, grid_height, grid_width, out, size, sigma); });
}

}  // extern "C"
