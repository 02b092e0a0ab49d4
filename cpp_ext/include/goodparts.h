/* goodparts.h: preprocessing, memory search and scoring from C. goodparts_runtime.h has the rest of the runtime.
 *
 * Ownership. Handles (gp_bank, gp_scorer) are created and freed by the caller with the functions named so; freeing
 * NULL does nothing. Every array belongs to the caller, is only read unless called `out`, and is not kept: a
 * handle copies what it needs. A gp_error may be NULL; where it is given, its fields are written by a call that
 * fails; one that succeeds does not touch it.
 *
 * Threads. A handle may be read (search, run) by several threads at once; a bank is changed by one thread while no
 * other uses it. `threads` bounds how many work on one call: 0 for as many as there are processors.
 *
 * Errors. Functions that can fail return false, or NULL, and say why. Nothing is half-done: outputs are then
 * undefined, handles unchanged. No function throws.
 *
 * Units. Images are uint8. Features are l2-normalised float32. Scores are raw: see goodparts.runtime.core.scoring,
 * which these functions agree with.
 */
#ifndef GOODPARTS_H
#define GOODPARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define GP_API __declspec(dllexport)
#else
#define GP_API __attribute__((visibility("default")))
#endif

/* Raised when a declaration below changes in a way that a compiled program would notice. */
#define GP_API_VERSION 3

typedef enum {
  GP_OK = 0,
  GP_INVALID = 1,  /* an argument is out of range; the message names it, the value seen and what is accepted */
  GP_MEMORY = 2,   /* allocation failed */
  GP_INTERNAL = 3, /* a bug in goodparts */
  /* Only goodparts_runtime.h returns the rest. */
  GP_FILE = 4,    /* a file cannot be read */
  GP_ENGINE = 5,  /* an engine folder is damaged, or lacks what is asked for */
  GP_RECIPE = 6,  /* a recipe is damaged, of another version, or does not fit the engine */
  GP_BACKEND = 7, /* the inference library refuses */
} gp_code;

typedef struct {
  gp_code code;
  char message[512]; /* one line, ends in 0 */
} gp_error;

GP_API int gp_api_version(void);
GP_API const char* gp_version(void);

/* Instruction set in use: "generic", "avx2", "avx512" or "amx". The environment variable GOODPARTS_ISA, read once,
 * asks for a lower one than the processor has. */
GP_API const char* gp_isa(void);

/* ---- Preprocessing --------------------------------------------------------------------------------------------- */

typedef enum {
  GP_RGB = 0,
  GP_BGR = 1,
  GP_GREY = 2,
  GP_NV12 = 3, /* 4:2:0, chroma plane of (U,V) pairs; even width and height; BT.601, limited range */
  GP_YUYV = 4, /* 4:2:2, packed Y U Y V; even width; BT.601, limited range */
} gp_format;

/* A frame in the caller's memory. Strides are bytes from row to row and may be larger than a row. chroma and
 * chroma_stride are for GP_NV12 only. */
typedef struct {
  const uint8_t* data;
  const uint8_t* chroma;
  int64_t width, height;
  int64_t stride, chroma_stride;
  gp_format format;
} gp_frame;

typedef struct {
  int64_t x, y, width, height; /* in frame pixels */
} gp_box;

/* Crop `box` (NULL: the whole frame) and resample it to out [out_height,out_width,3] RGB, rows without gaps.
 * Bicubic with antialiasing in Pillow's fixed-point arithmetic, bit for bit, of the frame as RGB. */
GP_API bool gp_resize(const gp_frame* frame, const gp_box* box, uint8_t* out, int64_t out_width, int64_t out_height,
                      int threads, gp_error* error);

/* ---- Memory search --------------------------------------------------------------------------------------------- */

typedef enum {
  GP_FP32 = 0, /* exact but for the order of float32 additions */
  GP_BF16 = 1, /* rows, and on "amx" queries too, rounded to bfloat16 */
  GP_INT8 = 2, /* rows, and on "avx512" and "amx" queries too, rounded to int8 with a scale each */
} gp_precision;

typedef struct gp_bank gp_bank;

GP_API gp_bank* gp_bank_create(int64_t width, gp_precision precision, gp_error* error);
GP_API void gp_bank_free(gp_bank* bank);

/* Remember `count` more rows [count,width], rows without gaps. Values must be finite. */
GP_API bool gp_bank_append(gp_bank* bank, const float* rows, int64_t count, gp_error* error);

GP_API int64_t gp_bank_rows(const gp_bank* bank);
GP_API int64_t gp_bank_width(const gp_bank* bank);
GP_API int64_t gp_bank_bytes(const gp_bank* bank); /* of memory held */

/* How far a product of unit vectors may be from exact on this machine, for queries of which no component is larger
 * than `peak`. */
GP_API float gp_bank_error_bound(const gp_bank* bank, float peak);

/* For each query [count,width] its largest inner product with a row, and which row (the first of equal ones);
 * out_index may be NULL. A query that is not finite has product NaN and index -1. An empty bank is an error. */
GP_API bool gp_bank_search(const gp_bank* bank, const float* queries, int64_t count, float* out_product,
                           int64_t* out_index, int threads, gp_error* error);

/* Make later searches of a large bank faster and no longer exact: rows are put into cells, and a search looks into as
 * few as give the share `recall`, of (0,1], of these queries [count,width] their best row. Give queries such as will
 * come. out_recall (may be NULL) is the share measured; 1 where the bank is searched as a whole, because it has few
 * rows or because a search would look into more than half of the cells. */
GP_API bool gp_bank_partition(gp_bank* bank, const float* queries, int64_t count, float recall, int threads,
                              float* out_recall, gp_error* error);

/* ---- Scoring --------------------------------------------------------------------------------------------------- */

#define GP_MAX_BANKS 8

/* What the scores are made of: of both branches as published, of the memory's distances weighed by the prompts'
 * residual margins, or of one branch only. */
typedef enum {
  GP_PAPER = 0,
  GP_RESIDUAL = 1,
  GP_PROMPT = 2,
  GP_MEMORY_ONLY = 3,
} gp_fusion;

/* What scoring needs of a product (goodparts.runtime.core.scoring.Learned). image_prompts, pixel_prompts: [2,width],
 * normal and anomalous. Banks are kept by reference: they must outlive the scorer, and with margins they may not grow.
 * margins: per bank the pixel prompts' margin of each of its rows, in their order; all NULL is accepted where the
 * fusion is not GP_RESIDUAL. */
typedef struct {
  int64_t width; /* of the joint space */
  int64_t grid_height, grid_width;
  const float* image_prompts;
  const float* pixel_prompts;
  float temperature;
  const gp_bank* banks[GP_MAX_BANKS];
  int bank_count;
  bool maximum_of_map; /* the memory's maximum of the un-smoothed 400×400 map instead of the grid */
  gp_fusion fusion;
  const float* margins[GP_MAX_BANKS];
  float residual_weight; /* of GP_RESIDUAL, 0 or more */
} gp_product;

/* Of `views` views; P = grid_height·grid_width. global [views,width], local [views,P,width], and per bank
 * memory[i] [views,P,width of bank i]. */
typedef struct {
  int64_t views;
  const float* global;
  const float* local;
  const float* memory[GP_MAX_BANKS];
} gp_features;

/* Where results go: image, image_prompt, image_memory [views]; grid, grid_prompt, grid_memory, grid_residual [views,P].
 * The residual is 0 without margins. */
typedef struct {
  float* image;
  float* grid;
  float* image_prompt;
  float* image_memory;
  float* grid_prompt;
  float* grid_memory;
  float* grid_residual;
} gp_scores;

typedef struct gp_scorer gp_scorer;

GP_API gp_scorer* gp_scorer_create(const gp_product* product, gp_error* error);
GP_API void gp_scorer_free(gp_scorer* scorer);
GP_API bool gp_scorer_run(const gp_scorer* scorer, const gp_features* features, const gp_scores* out, int threads,
                          gp_error* error);

/* One view's grid [grid_height,grid_width] as an anomaly map out [size,size]: bilinear, then a Gaussian of standard
 * deviation sigma pixels. */
GP_API bool gp_anomaly_map(const float* grid, int64_t grid_height, int64_t grid_width, float* out, int64_t size,
                           float sigma, gp_error* error);

#ifdef __cplusplus
}
#endif
#endif
