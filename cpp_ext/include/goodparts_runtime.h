/* goodparts_runtime.h: inspection from C. An engine and a recipe are opened, frames go in, verdicts, maps and regions
 * come out; the same scores as goodparts.Detector in Python, to 1e-5. Encoders run in ONNX Runtime on the CPU.
 *
 * It is part of libgoodparts where that was built with GOODPARTS_RUNTIME. What goodparts.h says of errors holds here.
 *
 * Ownership. Handles are created and freed by the caller with the functions named so; freeing NULL does nothing.
 * They share what they need of one another: an engine or a recipe may be freed while a detector made of it is in use,
 * and a detector while its inspections are. What a function returns a pointer to belongs to the handle it was asked of
 * and lives as long. Frames are read only during the call.
 *
 * Threads. Everything may be called by several threads at once, except that a handle is freed by one, after the others
 * are done with it. gp_detector_use and gp_detector_set_thresholds take effect between two frames: an inspection that
 * has begun ends with the recipe and thresholds that it began with.
 *
 * Texts are UTF-8 and end in 0. Files are hostile until checked: recipes and engine.json are held to their digest and
 * their structure, and what this version does not know is refused, never guessed at.
 */
#ifndef GOODPARTS_RUNTIME_H
#define GOODPARTS_RUNTIME_H

#include "goodparts.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gp_engine gp_engine;
typedef struct gp_recipe gp_recipe;
typedef struct gp_detector gp_detector;
typedef struct gp_inspection gp_inspection;

/* ---- Engine: the encoder, open for one precision --------------------------------------------------------------- */

/* All zero is the default. */
typedef struct {
  const char* precision; /* NULL for "fp32"; one that engine.json has a parity record of onnxruntime for */
  int threads;           /* bound on those of ONNX Runtime and of what runs beside it; 0 for no bound */
  bool verify;           /* check the SHA-256 of every file, not only the sizes */
} gp_engine_options;

/* Open an engine folder. options may be NULL. */
GP_API gp_engine* gp_engine_open(const char* folder, const gp_engine_options* options, gp_error* error);
GP_API void gp_engine_free(gp_engine* engine);

GP_API const char* gp_engine_graph(const gp_engine* engine);   /* graph id: what recipes are valid for */
GP_API const char* gp_engine_backend(const gp_engine* engine); /* what really runs: library, device, precision */

/* ---- Recipe: one product --------------------------------------------------------------------------------------- */

GP_API gp_recipe* gp_recipe_open(const char* path, gp_error* error);

/* The same of bytes in memory, which are not kept; name is how errors call them. */
GP_API gp_recipe* gp_recipe_read(const void* data, size_t size, const char* name, gp_error* error);
GP_API void gp_recipe_free(gp_recipe* recipe);

GP_API const char* gp_recipe_product(const gp_recipe* recipe);
GP_API const char* gp_recipe_digest(const gp_recipe* recipe); /* SHA-256 of the file, 64 hex digits */

/* ---- Detector: an engine and the product in use ----------------------------------------------------------------- */

typedef struct {
  double image;    /* raw image score from which a part is rejected; above 0 */
  double pixel;    /* raw pixel score from which a region is outlined; above 0 */
  double min_area; /* smallest region to report, in frame pixels */
  double review;   /* score from which a part that is not rejected is to be reviewed, below 1; 0 for no such band */
} gp_thresholds;

/* A recipe made for another encoder, or with another graph of the same encoder, is refused: the latter is fitted to
 * this graph in Python, where its shots can be encoded. */
GP_API gp_detector* gp_detector_create(const gp_engine* engine, const gp_recipe* recipe, gp_error* error);
GP_API void gp_detector_free(gp_detector* detector);

/* Change the product, and with it the thresholds. On an error the product in use stays. */
GP_API bool gp_detector_use(gp_detector* detector, const gp_recipe* recipe, gp_error* error);

GP_API gp_thresholds gp_detector_thresholds(const gp_detector* detector);
GP_API bool gp_detector_set_thresholds(gp_detector* detector, const gp_thresholds* thresholds, gp_error* error);

/* Inspect one frame, at least 8×8 pixels. */
GP_API gp_inspection* gp_detector_inspect(const gp_detector* detector, const gp_frame* frame, gp_error* error);

/* ---- Inspection: what was found in a frame ---------------------------------------------------------------------- */

typedef enum { GP_GOOD = 0, GP_REVIEW = 1, GP_REJECT = 2 } gp_answer;

typedef struct {
  double score;     /* raw_score / thresholds.image: 1 is the limit */
  double raw_score; /* of the worst tile */
  gp_answer answer; /* GP_REJECT from score 1 on, GP_REVIEW from thresholds.review on where that is set */
  gp_thresholds thresholds;
  double preprocess_ms, encode_ms, score_ms;
} gp_verdict;

/* A suspicious place, in frame pixels. */
typedef struct {
  gp_box box;
  double area;
  double peak; /* its highest pixel score */
} gp_region;

GP_API void gp_inspection_free(gp_inspection* inspection);
GP_API gp_verdict gp_inspection_verdict(const gp_inspection* inspection);
GP_API const char* gp_inspection_recipe(const gp_inspection* inspection);  /* digest */
GP_API const char* gp_inspection_graph(const gp_inspection* inspection);   /* graph id */
GP_API const char* gp_inspection_backend(const gp_inspection* inspection); /* what ran */

/* The part of the frame that was inspected. */
GP_API gp_box gp_inspection_extent(const gp_inspection* inspection);

/* Raw pixel scores over the extent [height,width], 400 a tile and axis; computed when first asked for. NULL on an
 * error. */
GP_API const float* gp_inspection_map(const gp_inspection* inspection, int64_t* height, int64_t* width,
                                      gp_error* error);

/* Connected places of the map above the pixel threshold, highest peak first. out_regions may be NULL to ask how many
 * there are; of more than `capacity` the first are written. */
GP_API bool gp_inspection_regions(const gp_inspection* inspection, gp_region* out_regions, int64_t capacity,
                                  int64_t* out_count, gp_error* error);

#ifdef __cplusplus
}
#endif
#endif
