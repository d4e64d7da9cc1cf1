// Matrix tiles (AMX): eight registers of up to 16 rows x 64 bytes, and products of them. `Tiles` is
// the tile unit of the calling thread while a kernel runs. A level has it in hardware, or emulated
// by vectors (tiles_emulated, in builds for tests): the same bits, but for the payloads of NaN.
//
// C (M x N sums of 4 bytes) += A (M x K units of 4 bytes) B (K units x N): a row of A is as it
// lies, a row of B is a unit of each column. Tiles are numbered at compile time.
//
// dot_bf16, units of two bfloat16: one chain of fused multiply-adds from zero over the even members
// of a product's units, one over the odd ones, then even + odd, then C + that. To nearest, ties to
// even; denormals are zero on the way in and out, a result being one where it would be with an
// unbounded exponent. The others, units of four bytes: exact, modulo 2^32. So storing C and loading
// it again changes no bit, and K may be cut at any multiple of kTileUnits.
#pragma once

namespace firth::FIRTH_LEVEL {

constexpr size_t kTileRows = 16, kTileBytes = 64;
constexpr size_t kTileUnits = kTileBytes / 4;  // along K in one product

// What LDTILECFG reads: the bytes of a row, and the rows, of each tile. A tile that is not used has
// neither.
struct alignas(64) TileShapes {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes[16] = {};
    uint8_t rows[16] = {};

    void set(size_t tile, size_t tile_rows, size_t row_bytes) {
        rows[tile] = (uint8_t)(row_bytes ? tile_rows : 0);
        bytes[tile] = (uint16_t)(tile_rows ? row_bytes : 0);
    }
};
static_assert(sizeof(TileShapes) == 64, "as the processor wants it");

// A block of C of two by two tiles: 0 to 3 are C, 4 and 5 A, 6 and 7 B, whole along K and N. upper,
// lower: rows of the two tiles of A; lower may be 0.
FIRTH_INLINE TileShapes block_shapes(size_t upper, size_t lower) {
    TileShapes shapes;
    for (size_t t = 0; t < 2; t++) {
        shapes.set(t, upper, kTileBytes);
        shapes.set(2 + t, lower, kTileBytes);
        shapes.set(6 + t, kTileUnits, kTileBytes);
    }
    shapes.set(4, upper, kTileBytes);
    shapes.set(5, lower, kTileBytes);
    return shapes;
}

namespace {

#if !FIRTH_TILES_EMULATED

// gcc 12's intrinsics do not tell the compiler what they read and write: stores to memory that a
// tile is loaded from are lost at -O3. Hence instructions of our own, with a memory clobber.
class Tiles {
  public:
    Tiles() = default;
    Tiles(const Tiles&) = delete;
    Tiles& operator=(const Tiles&) = delete;
    ~Tiles() {
        if (configured_) asm volatile("tilerelease" ::: "memory");
    }

    // All tiles become zero.
    void configure(const TileShapes& shapes) {
        asm volatile("ldtilecfg %0" ::"m"(shapes) : "memory");
        configured_ = true;
    }
    template <int T>
    void zero() {
        asm volatile("tilezero %%tmm%c0" ::"i"(T));
    }
    // Rows are `stride` bytes apart.
    template <int T>
    void load(const void* rows, ptrdiff_t stride) {
        asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(rows), "r"(stride), "i"(T) : "memory");
    }
    template <int T>
    void store(void* rows, ptrdiff_t stride) {
        asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(rows), "r"(stride), "i"(T) : "memory");
    }
#define FIRTH_TILE_PRODUCT(name, instruction) \
    template <int C, int A, int B> \
    void name() { \
        asm volatile(instruction " %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B)); \
    }
    FIRTH_TILE_PRODUCT(dot_bf16, "tdpbf16ps")
    FIRTH_TILE_PRODUCT(dot_s8s8, "tdpbssd")
    FIRTH_TILE_PRODUCT(dot_s8u8, "tdpbsud")
    FIRTH_TILE_PRODUCT(dot_u8s8, "tdpbusd")
#undef FIRTH_TILE_PRODUCT

  private:
    bool configured_ = false;
};

#else

class Tiles {
    typedef uint32_t u32xN __attribute__((vector_size(FIRTH_VECTOR_BYTES)));

  public:
    void configure(const TileShapes& shapes) {
        shapes_ = shapes;
        memset(tiles_, 0, sizeof tiles_);
    }
    template <int T>
    void zero() {
        memset(tiles_[T], 0, sizeof tiles_[T]);
    }
    template <int T>
    void load(const void* rows, ptrdiff_t stride) {
        zero<T>();
        for (size_t r = 0; r < shapes_.rows[T]; r++)
            memcpy(tiles_[T][r], (const char*)rows + (ptrdiff_t)r * stride, shapes_.bytes[T]);
    }
    template <int T>
    void store(void* rows, ptrdiff_t stride) {
        for (size_t r = 0; r < shapes_.rows[T]; r++)
            memcpy((char*)rows + (ptrdiff_t)r * stride, tiles_[T][r], shapes_.bytes[T]);
    }

    template <int C, int A, int B>
    void dot_bf16() {
        check(C, A, B);
        // Flush to zero, denormals are zero, no traps, to nearest. All in asm: the compiler knows
        // nothing of this register and could move arithmetic past its change.
        uint32_t before, flush = 0x9fc0;
        asm volatile("stmxcsr %0" : "=m"(before));
        asm volatile("ldmxcsr %0" ::"m"(flush));
        for (size_t m = 0; m < shapes_.rows[C]; m++) {
            i32xN even = set1((int32_t)0), odd = set1((int32_t)0), sum;
            for (size_t u = 0; u < shapes_.rows[B]; u++) {
                int32_t unit;
                memcpy(&unit, tiles_[A][m] + 4 * u, 4);
                const i32xN a = set1(unit), b = row(B, u);
                chain(&even, a << 16, b << 16);
                chain(&odd, a & (int32_t)0xffff0000, b & (int32_t)0xffff0000);
            }
            asm volatile("vaddps %2, %1, %0" : "=v"(sum) : "v"(even), "v"(odd));
            asm volatile("vaddps %1, %0, %0" : "+v"(sum) : "v"(row(C, m)));
            put(C, m, sum);
        }
        asm volatile("ldmxcsr %0" ::"m"(before));
    }
    template <int C, int A, int B>
    void dot_s8s8() {
        dot_bytes<int8_t, int8_t>(C, A, B);
    }
    template <int C, int A, int B>
    void dot_s8u8() {
        dot_bytes<int8_t, uint8_t>(C, A, B);
    }
    template <int C, int A, int B>
    void dot_u8s8() {
        dot_bytes<uint8_t, int8_t>(C, A, B);
    }

  private:
    static void chain(i32xN* sum, i32xN a, i32xN b) {
        asm volatile("vfmadd231ps %2, %1, %0" : "+v"(*sum) : "v"(a), "v"(b));
    }
    i32xN row(size_t tile, size_t r) const { return firth::FIRTH_LEVEL::load(at(tile, r)); }
    const int32_t* at(size_t tile, size_t r) const { return (const int32_t*)tiles_[tile][r]; }
    void put(size_t tile, size_t r, i32xN words) {
        char bytes[kTileBytes];
        memcpy(bytes, &words, sizeof bytes);
        memcpy(tiles_[tile][r], bytes, shapes_.bytes[tile]);  // above stay zeros
    }
    // The processor raises an exception where shapes do not fit together.
    void check(size_t c, size_t a, size_t b) const {
        if (shapes_.rows[c] != shapes_.rows[a] || shapes_.bytes[c] != shapes_.bytes[b] ||
            shapes_.bytes[a] != 4 * shapes_.rows[b] || !shapes_.rows[c] || !shapes_.rows[b])
            __builtin_trap();
    }
    template <class Left, class Right>
    void dot_bytes(size_t c, size_t a, size_t b) {
        check(c, a, b);
        for (size_t m = 0; m < shapes_.rows[c]; m++) {
            u32xN sum = (u32xN)row(c, m);
            for (size_t u = 0; u < shapes_.rows[b]; u++) {
                const u32xN columns = (u32xN)row(b, u);
                for (uint32_t i = 0; i < 4; i++) {
                    const auto left = (Left)tiles_[a][m][4 * u + i];
                    const u32xN high = columns << (24 - 8 * i);
                    // An arithmetic or a logical shift brings the byte down.
                    const u32xN right = Right(-1) < 0 ? (u32xN)((i32xN)high >> 24) : high >> 24;
                    sum += (u32xN)set1((int32_t)left) * right;
                }
            }
            put(c, m, (i32xN)sum);
        }
    }

    TileShapes shapes_;
    alignas(64) unsigned char tiles_[8][kTileRows][kTileBytes];
};

#endif

}  // namespace

}  // namespace firth::FIRTH_LEVEL
