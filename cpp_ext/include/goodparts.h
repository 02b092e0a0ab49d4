/* goodparts.h: the C API for preprocessing, memory search and scoring, for an encoder that runs elsewhere.
 * goodparts_runtime.h is the C API of the whole runtime.
 *
 * Ownership. The caller creates a handle (gp_bank, gp_scorer) with its create function and frees it with its free
 * function. Freeing NULL does nothing. Every array belongs to the caller. A function reads arrays during the call and
 * writes only to those called `out`. It keeps no pointer to them: a handle copies what it needs.
 *
 * Threads. Several threads may read from one handle at once (gp_bank_search, gp_scorer_run). Only one thread may change
 * a bank (gp_bank_append, gp_bank_partition), and no other thread may use the bank meanwhile. The parameter `threads`
 * is the largest number of threads that work on one call; 0 takes every processor that the process may use. All calls
 * share one set of threads: a call that finds them busy runs on its own thread.
 *
 * Errors. A function that can fail returns false or NULL when it fails, and fills the gp_error with a code and a
 * message. A call that succeeds does not write to the gp_error. The pointer to the gp_error may be NULL. After a
 * failure the contents of the outputs are undefined, and the handles are as they were before the call. No function
 * throws an exception. Every function with a gp_error can fail with GP_MEMORY and GP_INTERNAL; its comment names the
 * other codes.
 *
 * Units. Images are uint8. Features are float32 vectors of length 1 (l2-normalised). Scores are raw, as
 * goodparts.runtime.core.scoring defines them in Python.
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

/* The version of the C API. It is raised when a declaration changes in a way that breaks compiled programs. */
#define GP_API_VERSION 3

/* Why a call failed. */
typedef enum {
  GP_OK = 0,
  GP_INVALID = 1,  /* an argument is out of range; the message names it, the value seen and what is accepted */
  GP_MEMORY = 2,   /* memory allocation failed */
  GP_INTERNAL = 3, /* a bug in goodparts */
  /* Only functions of goodparts_runtime.h return the following codes. */
  GP_FILE = 4,    /* a file cannot be read */
  GP_ENGINE = 5,  /* an engine folder is damaged or lacks what the caller asks for */
  GP_RECIPE = 6,  /* a recipe is damaged, has another version, or does not fit the engine */
  GP_BACKEND = 7, /* the inference library reports an error or gives unusable results */
} gp_code;

/* The code and the message of a failed call. */
typedef struct {
  gp_code code;
  char message[512]; /* one line of UTF-8, ends in 0 */
} gp_error;

/* Return the GP_API_VERSION that the library was compiled with. */
GP_API int gp_api_version(void);

/* Return the version of goodparts, such as "1.2.3". The text is constant and must not be freed. */
GP_API const char* gp_version(void);

/* Return the instruction set that the library uses: "generic", "avx2", "avx512" or "amx". It is the best one that the
 * processor and the operating system support. The environment variable GOODPARTS_ISA can name a lower one; it is read
 * once, at the first use. The text is constant and must not be freed. */
GP_API const char* gp_isa(void);

/* ---- Preprocessing --------------------------------------------------------------------------------------------- */

/* How a frame stores its pixels. NV12 and YUYV are converted to RGB as BT.601 with limited range. */
typedef enum {
  GP_RGB = 0,  /* 3 bytes per pixel: R G B */
  GP_BGR = 1,  /* 3 bytes per pixel: B G R */
  GP_GREY = 2, /* 1 byte per pixel */
  GP_NV12 = 3, /* 4:2:0: a plane of luma and a plane of (U,V) pairs; width and height must be even */
  GP_YUYV = 4, /* 4:2:2, packed as Y U Y V; the width must be even */
} gp_format;

/* A frame in the caller's memory. */
typedef struct {
  const uint8_t* data;           /* the first row; of NV12, the first row of luma */
  const uint8_t* chroma;         /* NV12 only: the first row of (U,V) pairs */
  int64_t width, height;         /* in pixels, each from 1 to 65535 */
  int64_t stride, chroma_stride; /* bytes from one row to the next, at least a row's length; chroma: NV12 only */
  gp_format format;
} gp_frame;

/* A rectangle in pixels of the frame. (x,y) is its upper left corner; (0,0) is the frame's. */
typedef struct {
  int64_t x, y, width, height;
} gp_box;

/* Crop a box out of a frame and resample it to an RGB image.
 *
 * The filter is bicubic with antialiasing. The result equals that of Pillow's resize on the frame as RGB, bit for bit.
 *
 * frame: the frame to read.
 * box: the part to crop, at least 1×1 pixel and inside the frame; NULL takes the whole frame.
 * out: [out_height,out_width,3], uint8, RGB, rows without gaps.
 * out_width, out_height: size of the result in pixels, each from 1 to 65535.
 * threads: see the top of this file; small images are resampled on the calling thread.
 *
 * Returns true, or false with GP_INVALID if an argument is out of range. */
GP_API bool gp_resize(const gp_frame* frame, const gp_box* box, uint8_t* out, int64_t out_width, int64_t out_height,
                      int threads, gp_error* error);

/* ---- Memory search --------------------------------------------------------------------------------------------- */

/* How a bank stores its rows. The less precise formats need less memory and are faster. */
typedef enum {
  GP_FP32 = 0, /* float32; products are exact except for the order of the float32 additions */
  GP_BF16 = 1, /* rows rounded to bfloat16; on "amx" the queries too */
  GP_INT8 = 2, /* rows rounded to int8, with a scale for each row; on "avx512" and "amx" the queries too */
} gp_precision;

/* A memory bank: rows to search for the largest inner product with a query. */
typedef struct gp_bank gp_bank;

/* Create an empty bank.
 *
 * width: components of a row, from 1 to 65536.
 * precision: how the rows are stored.
 *
 * Returns the bank, to be freed with gp_bank_free, or NULL with GP_INVALID if an argument is out of range. */
GP_API gp_bank* gp_bank_create(int64_t width, gp_precision precision, gp_error* error);

/* Free a bank. No scorer that was created with it may be used afterwards. */
GP_API void gp_bank_free(gp_bank* bank);

/* Append rows to a bank. No other thread may use the bank meanwhile.
 *
 * rows: [count,width], float32, finite, rows without gaps; they are copied.
 * count: number of rows, 0 or more; a bank holds up to about 2^31 rows.
 *
 * Returns true, or false with GP_INVALID if an argument is out of range or a value is not finite. */
GP_API bool gp_bank_append(gp_bank* bank, const float* rows, int64_t count, gp_error* error);

/* Return the number of rows; 0 if bank is NULL. */
GP_API int64_t gp_bank_rows(const gp_bank* bank);

/* Return the number of components of a row; 0 if bank is NULL. */
GP_API int64_t gp_bank_width(const gp_bank* bank);

/* Return the bytes of memory that the stored rows occupy; 0 if bank is NULL. */
GP_API int64_t gp_bank_bytes(const gp_bank* bank);

/* Return an upper bound on the absolute error of a product that gp_bank_search reports on this machine, for rows and
 * queries of length 1; 0 if bank is NULL. The bound does not cover rows that a partitioned bank does not search.
 *
 * peak: the largest absolute value of a component of the queries. */
GP_API float gp_bank_error_bound(const gp_bank* bank, float peak);

/* Find for each query the row with the largest inner product. Several threads may search one bank at once.
 *
 * bank: a bank with at least one row.
 * queries: [count,width], float32, rows without gaps.
 * count: number of queries, 0 or more.
 * out_product: [count]; the largest product of each query, NaN for a query with a value that is not finite.
 * out_index: [count] or NULL; the number of the row with that product, the first of equal ones, counted from 0 in the
 *   order of gp_bank_append. It is -1 for a query with a value that is not finite.
 * threads: see the top of this file.
 *
 * Returns true, or false with GP_INVALID if the bank is empty or an argument is out of range. */
GP_API bool gp_bank_search(const gp_bank* bank, const float* queries, int64_t count, float* out_product,
                           int64_t* out_index, int threads, gp_error* error);

/* Divide a large bank into cells of neighbouring rows, which makes later searches faster and no longer exact.
 *
 * A later search compares a query only with the rows of the cells nearest to it. The number of cells is the smallest
 * with which the share `recall` of the given queries finds the same row as an exact search. The bank stays whole, and
 * searches stay exact, if `recall` is 1, if the bank has fewer than 4096 rows, or if a search would need more than half
 * of the cells. A bank can be divided only once. No other thread may use the bank meanwhile.
 *
 * queries: [count,width], float32, finite, rows without gaps; a sample of the queries that will be searched later.
 * count: number of queries, 1 or more.
 * recall: above 0, up to 1.
 * threads: see the top of this file.
 * out_recall: the share of the queries that find their row, as measured; 1 if the bank stays whole; may be NULL.
 *
 * Returns true, or false with GP_INVALID if an argument is out of range or the bank is already divided. */
GP_API bool gp_bank_partition(gp_bank* bank, const float* queries, int64_t count, float recall, int threads,
                              float* out_recall, gp_error* error);

/* ---- Scoring --------------------------------------------------------------------------------------------------- */

/* The largest number of banks of a product. */
#define GP_MAX_BANKS 8

/* How the prompt score p and the memory score m of a patch become its score. The score of a view follows in the same
 * way from its own p and m; with GP_RESIDUAL it is the highest score of its patches. */
typedef enum {
  GP_PAPER = 0,       /* p·m/(p+m), as in PromptAD (CVPR 2024) */
  GP_RESIDUAL = 1,    /* m·exp(residual_weight·residual margin) */
  GP_PROMPT = 2,      /* p */
  GP_MEMORY_ONLY = 3, /* m */
} gp_fusion;

/* What scoring needs of a product (Learned in goodparts.runtime.core.scoring). */
typedef struct {
  int64_t width;                      /* components of global and local features, from 1 to 65536 */
  int64_t grid_height, grid_width;    /* patches of a view along each side, from 1 to 4096 */
  const float* image_prompts;         /* [2,width]: the normal, then the anomalous prototype, for the whole image */
  const float* pixel_prompts;         /* [2,width]: the same for patches */
  float temperature;                  /* factor of the cosine margin in the prompt score; finite */
  const gp_bank* banks[GP_MAX_BANKS]; /* the memory; not copied: the banks must outlive the scorer */
  int bank_count;                     /* from 1 to GP_MAX_BANKS */
  bool maximum_of_map;                /* take the memory's image score from the un-smoothed 400×400 map, not the grid */
  gp_fusion fusion;
  /* For each bank the margin of each of its rows, [rows of the bank], finite; or NULL for every bank. GP_RESIDUAL needs
   * them. The margin of a patch is its cosine with the anomalous minus that with the normal pixel prompt. A bank with
   * margins must not grow while the scorer is in use. */
  const float* margins[GP_MAX_BANKS];
  float residual_weight; /* used by GP_RESIDUAL only; finite, 0 or more */
} gp_product;

/* The encoder's features of some views. P = grid_height·grid_width is the number of patches of a view. All arrays are
 * float32 with rows without gaps, and every vector has length 1. */
typedef struct {
  int64_t views;                     /* 0 or more */
  const float* global;               /* [views,width] */
  const float* local;                /* [views,P,width] */
  const float* memory[GP_MAX_BANKS]; /* for each bank [views,P,width of the bank] */
} gp_features;

/* Where gp_scorer_run writes the scores. Every array is needed. Patches whose features are not finite score NaN.
 *
 * The prompt score is the probability of the anomalous prototype. The memory score of a patch is half its cosine
 * distance to the nearest row, as a mean over the banks. The memory score of a view is the maximum of its patches, or
 * of its map with gp_product.maximum_of_map. */
typedef struct {
  float* image;         /* [views]: the score of each view */
  float* grid;          /* [views,P]: the score of each patch */
  float* image_prompt;  /* [views]: the prompt score of each view, 0 to 1 */
  float* image_memory;  /* [views]: the memory score of each view, 0 to 1 */
  float* grid_prompt;   /* [views,P]: the prompt score of each patch, 0 to 1 */
  float* grid_memory;   /* [views,P]: the memory score of each patch, 0 to 1 */
  float* grid_residual; /* [views,P]: the margin of each patch minus that of its nearest rows; 0 without margins */
} gp_scores;

/* Scores the views of one product. */
typedef struct gp_scorer gp_scorer;

/* Create a scorer.
 *
 * product: prompts and margins are copied; the banks are not, see gp_product.
 *
 * Returns the scorer, to be freed with gp_scorer_free, or NULL with GP_INVALID if a field of the product is out of
 * range. */
GP_API gp_scorer* gp_scorer_create(const gp_product* product, gp_error* error);

/* Free a scorer. Its banks stay. */
GP_API void gp_scorer_free(gp_scorer* scorer);

/* Score views. Several threads may use one scorer at once.
 *
 * features: of the views to score.
 * out: the arrays to write to.
 * threads: see the top of this file.
 *
 * Returns true, or false with GP_INVALID if an argument is out of range, a bank is empty, or a bank with margins has
 * grown since the scorer was created. */
GP_API bool gp_scorer_run(const gp_scorer* scorer, const gp_features* features, const gp_scores* out, int threads,
                          gp_error* error);

/* Turn the patch scores of one view into an anomaly map: bilinear interpolation, then a Gaussian filter that is cut off
 * at four standard deviations and mirrored at the borders.
 *
 * grid: [grid_height,grid_width], float32, finite.
 * grid_height, grid_width: from 1 to 4096.
 * out: [size,size], float32.
 * size: side of the map in pixels, from 1 to 16384.
 * sigma: standard deviation of the Gaussian in pixels of the map, from 0 (no filter) to 1000.
 *
 * Returns true, or false with GP_INVALID if an argument is out of range. */
GP_API bool gp_anomaly_map(const float* grid, int64_t grid_height, int64_t grid_width, float* out, int64_t size,
                           float sigma, gp_error* error);

#ifdef __cplusplus
}
#endif
#endif
