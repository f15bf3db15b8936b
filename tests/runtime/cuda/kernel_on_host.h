// What a C++ compiler needs to take resize.cu, and a loop in place of the grid.
#include <stddef.h>

#define __device__
#define __global__
struct Index { unsigned int x, y; };
static thread_local Index threadIdx, blockIdx, blockDim;

extern "C" void resize_area(const unsigned char *, unsigned int, unsigned int, unsigned int,
                            unsigned char *, unsigned int);

extern "C" __attribute__((visibility("default"))) void run_on_host(
    const unsigned char *image_HWC, unsigned int height, unsigned int width, unsigned int halvings,
    unsigned char *small_HWC, unsigned int side, unsigned int grid_x, unsigned int grid_y,
    unsigned int block_x, unsigned int block_y)
{
    blockDim = Index{block_x, block_y};
    for (blockIdx.y = 0; blockIdx.y < grid_y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < grid_x; ++blockIdx.x)
            for (threadIdx.y = 0; threadIdx.y < block_y; ++threadIdx.y)
                for (threadIdx.x = 0; threadIdx.x < block_x; ++threadIdx.x)
                    resize_area(image_HWC, height, width, halvings, small_HWC, side);
}
