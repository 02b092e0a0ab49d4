/* From a camera frame to scores and an anomaly map in C, with the functions of goodparts.h in the order of use. Between
 * resizing and scoring, an inference library would run the encoder; here the features are random. */
#include <goodparts.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { WIDTH = 64, SIDE = 4, PATCHES = SIDE * SIDE, SHOTS = 3, SIZE = 192 };

static int failed(const gp_error* error) {
  fprintf(stderr, "goodparts: %s\n", error->message);
  return 1;
}

/* Fill rows of length 1 with random numbers that depend only on the seed. */
static void fill(float* rows, int count, unsigned seed) {
  for (int row = 0; row < count; ++row) {
    float length = 0;
    for (int k = 0; k < WIDTH; ++k) {
      seed = seed * 1664525u + 1013904223u;
      rows[row * WIDTH + k] = (float)(seed >> 8) / 8388608.0f - 1.0f;
      length += rows[row * WIDTH + k] * rows[row * WIDTH + k];
    }
    for (int k = 0; k < WIDTH; ++k) rows[row * WIDTH + k] /= sqrtf(length);
  }
}

int main(void) {
  gp_error error = {0};
  printf("goodparts %s, C API %d, %s\n", gp_version(), gp_api_version(), gp_isa());

  /* A frame as a camera gives it, with rows padded to 2048 bytes, and the region to inspect. */
  enum { FRAME_WIDTH = 640, FRAME_HEIGHT = 480, STRIDE = 2048 };
  static uint8_t pixels[FRAME_HEIGHT * STRIDE], view[SIZE * SIZE * 3];
  for (int y = 0; y < FRAME_HEIGHT; ++y)
    for (int x = 0; x < 3 * FRAME_WIDTH; ++x) pixels[y * STRIDE + x] = (uint8_t)(x / 3 + y);
  const gp_frame frame = {
      .data = pixels, .width = FRAME_WIDTH, .height = FRAME_HEIGHT, .stride = STRIDE, .format = GP_BGR};
  const gp_box region = {.x = 80, .y = 0, .width = 480, .height = 480};
  if (!gp_resize(&frame, &region, view, SIZE, SIZE, 0, &error)) return failed(&error);

  /* What was learned: the memory of good patches, the prompts' margin of each patch, and two pairs of prompts. */
  static float good[SHOTS * PATCHES * WIDTH], margins[SHOTS * PATCHES], prompts[4 * WIDTH];
  fill(good, SHOTS * PATCHES, 1);
  fill(prompts, 4, 2);
  gp_bank* bank = gp_bank_create(WIDTH, GP_FP32, &error);
  if (!bank || !gp_bank_append(bank, good, SHOTS * PATCHES, &error)) return failed(&error);
  const gp_product product = {
      .width = WIDTH,
      .grid_height = SIDE,
      .grid_width = SIDE,
      .image_prompts = prompts,
      .pixel_prompts = prompts + 2 * WIDTH,
      .temperature = 4.6f,
      .banks = {bank},
      .bank_count = 1,
      .fusion = GP_RESIDUAL,
      .margins = {margins},
      .residual_weight = 0.7f,
  };
  gp_scorer* scorer = gp_scorer_create(&product, &error);
  if (!scorer) return failed(&error);

  /* The encoder's features. The memory features are those of the first shot, so the memory score is 0. */
  static float global[WIDTH], local[PATCHES * WIDTH];
  fill(global, 1, 3);
  fill(local, PATCHES, 4);
  const gp_features features = {.views = 1, .global = global, .local = local, .memory = {good}};
  float image, image_prompt, image_memory, grid[PATCHES], grid_prompt[PATCHES], grid_memory[PATCHES],
      grid_residual[PATCHES];
  const gp_scores scores = {&image, grid, &image_prompt, &image_memory, grid_prompt, grid_memory, grid_residual};
  if (!gp_scorer_run(scorer, &features, &scores, 0, &error)) return failed(&error);
  static float map[400 * 400];
  if (!gp_anomaly_map(grid, SIDE, SIDE, map, 400, 4.0f, &error)) return failed(&error);
  printf("image score %.6f, prompt %.6f, memory %.6f\n", image, image_prompt, image_memory);

  /* A failed call gives a message of one line. */
  if (gp_resize(&frame, &(gp_box){.x = 600, .y = 0, .width = 480, .height = 480}, view, SIZE, SIZE, 0, &error))
    return 1;
  printf("refused: %s\n", error.message);

  gp_scorer_free(scorer);
  gp_bank_free(bank);
  return fabsf(image_memory) < 1e-6f ? 0 : 1;
}
