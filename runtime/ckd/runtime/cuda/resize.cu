// Area averaging in integers, so that every GPU, and a CPU, gives the same bytes.
//
// A row or column of `size` input pixels is divided into `side * size` equal parts. An output pixel
// covers `size` parts and an input pixel covers `side` parts, so their overlap is an integer number
// of parts. Limits: side * size < 2^32, and at most 6 halvings.

struct Cover {  // the input pixels, first to last, under one output pixel, in one direction
    unsigned int begin, end;  // of the output pixel, in parts
    unsigned int first, last;
};

static __device__ Cover cover(unsigned int index, unsigned int size, unsigned int side, bool linear)
{
    Cover c;
    c.begin = index * size;
    c.end = c.begin + size;
    c.first = c.begin / side;
    c.last = (c.end - 1) / side;
    // OpenCV's INTER_AREA interpolates if either direction is enlarged. In the direction that is
    // enlarged, the result is the same; in the other direction, the second pixel then represents
    // all pixels after it.
    if (linear && c.last > c.first + 1) c.last = c.first + 1;
    return c;
}

static __device__ unsigned int share(Cover c, unsigned int pixel, unsigned int side)
{
    unsigned int begin = pixel == c.first ? c.begin : pixel * side;
    unsigned int end = pixel == c.last ? c.end : (pixel + 1) * side;
    return end - begin;
}

struct Rgb {
    unsigned int red, green, blue;
};

// A pixel of the image [.., width, 3] after HALVINGS halvings, each of which rounds half up.
template <int HALVINGS>
static __device__ Rgb halved(const unsigned char *image_HWC, size_t width, size_t row, size_t column)
{
    Rgb sum = {2, 2, 2};
#pragma unroll 1
    for (int i = 0; i < 4; ++i) {
        Rgb p = halved<HALVINGS - 1>(image_HWC, width, 2 * row + i / 2, 2 * column + i % 2);
        sum.red += p.red;
        sum.green += p.green;
        sum.blue += p.blue;
    }
    Rgb mean = {sum.red / 4, sum.green / 4, sum.blue / 4};
    return mean;
}

template <>
__device__ Rgb halved<0>(const unsigned char *image_HWC, size_t width, size_t row, size_t column)
{
    const unsigned char *pixel = image_HWC + 3 * (row * width + column);
    Rgb same = {pixel[0], pixel[1], pixel[2]};
    return same;
}

static __device__ Rgb pixel_of(const unsigned char *image_HWC, size_t width,
                               unsigned int halvings, size_t row, size_t column)
{
    switch (halvings) {
    case 0: return halved<0>(image_HWC, width, row, column);
    case 1: return halved<1>(image_HWC, width, row, column);
    case 2: return halved<2>(image_HWC, width, row, column);
    case 3: return halved<3>(image_HWC, width, row, column);
    case 4: return halved<4>(image_HWC, width, row, column);
    case 5: return halved<5>(image_HWC, width, row, column);
    default: return halved<6>(image_HWC, width, row, column);
    }
}

// Halves image_HWC, which has 3 channels, `halvings` times and averages it to small_HWC of
// side x side; one thread per output pixel.
extern "C" __global__ void resize_area(const unsigned char *image_HWC, unsigned int height,
                                       unsigned int width, unsigned int halvings,
                                       unsigned char *small_HWC, unsigned int side)
{
    unsigned int x = blockIdx.x * blockDim.x + threadIdx.x;
    unsigned int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= side || y >= side) return;
    unsigned int num_rows = height >> halvings, num_columns = width >> halvings;
    bool linear = num_rows < side || num_columns < side;
    Cover rows = cover(y, num_rows, side, linear), columns = cover(x, num_columns, side, linear);
    unsigned long long red = 0, green = 0, blue = 0;
    for (unsigned int row = rows.first; row <= rows.last; ++row) {
        unsigned long long row_red = 0, row_green = 0, row_blue = 0;
        for (unsigned int column = columns.first; column <= columns.last; ++column) {
            Rgb pixel = pixel_of(image_HWC, width, halvings, row, column);
            unsigned long long weight = share(columns, column, side);
            row_red += weight * pixel.red;
            row_green += weight * pixel.green;
            row_blue += weight * pixel.blue;
        }
        unsigned long long weight = share(rows, row, side);
        red += weight * row_red;
        green += weight * row_green;
        blue += weight * row_blue;
    }
    unsigned long long area = (unsigned long long)num_rows * num_columns;
    unsigned char *to = small_HWC + 3 * (y * side + x);
    to[0] = (unsigned char)((red + area / 2) / area);
    to[1] = (unsigned char)((green + area / 2) / area);
    to[2] = (unsigned char)((blue + area / 2) / area);
}
