/* goodparts_runtime.h: the C API of the whole runtime. A program opens an engine and a recipe, passes in frames, and
 * receives verdicts, anomaly maps and regions. The scores equal those of goodparts.Detector in Python within 1e-5. The
 * encoder runs in ONNX Runtime on the CPU.
 *
 * These functions are in libgoodparts if it was built with GOODPARTS_RUNTIME. The rules of goodparts.h about errors
 * apply here too.
 *
 * Ownership. The caller creates a handle with its open, read, create or inspect function and frees it with its free
 * function. Freeing NULL does nothing. Handles share what they need: an engine or a recipe may be freed while a
 * detector made from it is in use, and a detector while its inspections are in use. A pointer that a function returns
 * belongs to the handle that was passed in, and is valid until that handle is freed. A frame is read only during the
 * call.
 *
 * Threads. Several threads may call every function at once, except that a handle may be freed only after all other
 * threads have finished with it. gp_detector_use and gp_detector_set_thresholds take effect between two frames: an
 * inspection that has begun ends with the recipe and the thresholds it began with.
 *
 * Texts are UTF-8 and end in 0. Recipes and engine.json are checked against their digest and their structure when they
 * are opened. A recipe with a field, a value or a tensor that this version does not know is rejected.
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

/* ---- Engine: the encoder, opened in one precision --------------------------------------------------------------- */

/* How to open an engine. A struct of zeros has the default values. */
typedef struct {
  const char* precision; /* NULL for "fp32"; engine.json must have a parity record of onnxruntime for the precision */
  int threads;           /* most threads for ONNX Runtime, and for preprocessing and scoring; 0 for no limit */
  bool verify;           /* check the SHA-256 of every file, not only its size */
} gp_engine_options;

/* Open an engine.
 *
 * folder: the engine folder, with its engine.json.
 * options: NULL for the default values.
 *
 * Returns the engine, to be freed with gp_engine_free, or NULL with GP_INVALID (folder is NULL, threads is negative),
 * GP_FILE (a file cannot be read), GP_ENGINE (the folder is no engine, is damaged, or has no graph in this precision)
 * or GP_BACKEND (ONNX Runtime cannot open the graph). */
GP_API gp_engine* gp_engine_open(const char* folder, const gp_engine_options* options, gp_error* error);

/* Free an engine. Detectors made from it stay usable. */
GP_API void gp_engine_free(gp_engine* engine);

/* Return the id of the engine's graph; a recipe is valid for one graph. "" if engine is NULL. */
GP_API const char* gp_engine_graph(const gp_engine* engine);

/* Return what runs the graph: library and version, device, precision. "" if engine is NULL. */
GP_API const char* gp_engine_backend(const gp_engine* engine);

/* ---- Recipe: everything learned for one product ----------------------------------------------------------------- */

/* Open a recipe.
 *
 * path: the recipe's file.
 *
 * Returns the recipe, to be freed with gp_recipe_free, or NULL with GP_INVALID (path is NULL), GP_FILE (the file cannot
 * be read) or GP_RECIPE (it is damaged or has another version). */
GP_API gp_recipe* gp_recipe_open(const char* path, gp_error* error);

/* Read a recipe from memory.
 *
 * data: the bytes of the recipe's file; they are copied.
 * size: number of bytes.
 * name: the name of the recipe in error messages; NULL for "recipe".
 *
 * Returns as gp_recipe_open does. */
GP_API gp_recipe* gp_recipe_read(const void* data, size_t size, const char* name, gp_error* error);

/* Free a recipe. Detectors that use it stay usable. */
GP_API void gp_recipe_free(gp_recipe* recipe);

/* Return the name of the product; "" if recipe is NULL. */
GP_API const char* gp_recipe_product(const gp_recipe* recipe);

/* Return the digest of the recipe, 64 hexadecimal digits; "" if recipe is NULL. It is the SHA-256 of the file in which
 * the digits of the digest are zeros. */
GP_API const char* gp_recipe_digest(const gp_recipe* recipe);

/* ---- Detector: an engine and the product in use ----------------------------------------------------------------- */

/* From which scores a part is rejected, reviewed and outlined. */
typedef struct {
  double image;    /* raw image score from which a part is rejected; above 0 */
  double pixel;    /* raw pixel score from which a region is outlined; above 0 */
  double min_area; /* smallest area of a region to report, in square pixels of the frame; 0 or more */
  double review;   /* score (see gp_verdict) from which a part that is not rejected gets GP_REVIEW; below 1; 0: never */
} gp_thresholds;

/* Create a detector. The recipe must have been made with the engine's graph. A recipe made with another graph of the
 * same encoder must first be fitted to this graph in Python, which encodes the recipe's shots again.
 *
 * Returns the detector, to be freed with gp_detector_free, or NULL with GP_INVALID (engine or recipe is NULL) or
 * GP_RECIPE (the recipe does not fit the engine). */
GP_API gp_detector* gp_detector_create(const gp_engine* engine, const gp_recipe* recipe, gp_error* error);

/* Free a detector. Its inspections stay usable. */
GP_API void gp_detector_free(gp_detector* detector);

/* Change the product, and with it the thresholds to those of the recipe.
 *
 * Returns true, or false as gp_detector_create returns NULL. After a failure the product in use stays. */
GP_API bool gp_detector_use(gp_detector* detector, const gp_recipe* recipe, gp_error* error);

/* Return the thresholds in use; zeros if detector is NULL. */
GP_API gp_thresholds gp_detector_thresholds(const gp_detector* detector);

/* Change the thresholds until the product is changed.
 *
 * Returns true, or false with GP_INVALID if a threshold is out of range. After a failure the thresholds in use stay. */
GP_API bool gp_detector_set_thresholds(gp_detector* detector, const gp_thresholds* thresholds, gp_error* error);

/* Inspect one frame.
 *
 * frame: at least 8×8 pixels; the recipe's region of interest must lie inside it, and the recipe's mask must have its
 *   size.
 *
 * Returns the inspection, to be freed with gp_inspection_free, or NULL with GP_INVALID (the frame is out of range),
 * GP_ENGINE (the graph's outputs do not fit engine.json) or GP_BACKEND (ONNX Runtime fails, or the features are not
 * finite). */
GP_API gp_inspection* gp_detector_inspect(const gp_detector* detector, const gp_frame* frame, gp_error* error);

/* ---- Inspection: the results for one frame ---------------------------------------------------------------------- */

/* The verdict's answer. */
typedef enum { GP_GOOD = 0, GP_REVIEW = 1, GP_REJECT = 2 } gp_answer;

/* The verdict on a part. */
typedef struct {
  double score;     /* raw_score / thresholds.image; the part is rejected from 1 on */
  double raw_score; /* image score of the worst tile */
  gp_answer answer; /* GP_REJECT if score >= 1; else GP_REVIEW if thresholds.review > 0 and score >= it; else GP_GOOD */
  gp_thresholds thresholds;                  /* in use when the inspection began */
  double preprocess_ms, encode_ms, score_ms; /* time of each step in milliseconds */
} gp_verdict;

/* A suspicious region of the frame. */
typedef struct {
  gp_box box;  /* in pixels of the frame */
  double area; /* in square pixels of the frame */
  double peak; /* the highest raw pixel score in the region */
} gp_region;

/* Free an inspection. */
GP_API void gp_inspection_free(gp_inspection* inspection);

/* Return the verdict; zeros if inspection is NULL. */
GP_API gp_verdict gp_inspection_verdict(const gp_inspection* inspection);

/* Return the digest of the recipe that was used; "" if inspection is NULL. */
GP_API const char* gp_inspection_recipe(const gp_inspection* inspection);

/* Return the id of the graph that ran; "" if inspection is NULL. */
GP_API const char* gp_inspection_graph(const gp_inspection* inspection);

/* Return what ran the graph, as gp_engine_backend does; "" if inspection is NULL. */
GP_API const char* gp_inspection_backend(const gp_inspection* inspection);

/* Return the part of the frame that was inspected, in pixels of the frame; zeros if inspection is NULL. */
GP_API gp_box gp_inspection_extent(const gp_inspection* inspection);

/* Return the anomaly map: the raw pixel scores over the extent. It is computed at the first call.
 *
 * height, width: receive the size of the map, which is 400 for each row or column of tiles.
 *
 * Returns the scores [height,width], float32, which belong to the inspection, or NULL with GP_INVALID if an argument is
 * NULL. */
GP_API const float* gp_inspection_map(const gp_inspection* inspection, int64_t* height, int64_t* width,
                                      gp_error* error);

/* Find the regions: the connected parts of the map at or above thresholds.pixel whose area is at least
 * thresholds.min_area. They are computed at the first call.
 *
 * out_regions: [capacity]; the regions, the highest peak first. NULL to ask only for their number.
 * capacity: if there are more regions than this, only the first ones are written.
 * out_count: receives the number of all regions.
 *
 * Returns true, or false with GP_INVALID if inspection or out_count is NULL or capacity is negative. */
GP_API bool gp_inspection_regions(const gp_inspection* inspection, gp_region* out_regions, int64_t capacity,
                                  int64_t* out_count, gp_error* error);

#ifdef __cplusplus
}
#endif
#endif
