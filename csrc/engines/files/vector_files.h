// Rows of word2vec's files, text and binary: the place of each word, its numbers as a matrix.
// A caller reads a file piece by piece; nothing here knows files.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <string>
#include <vector>

namespace firth::files {

// A word within the piece. begin is -1 for a blank line, which is no row.
struct WordSpan {
    int64_t begin, end;
};

struct RowsRead {
    size_t rows;      // how many were filled, blank lines counted
    size_t consumed;  // bytes of the piece that they take
    int64_t bad;      // start of the first line that is not a row; -1 if all are valid
};

// Lines in the piece; an unfinished one counts where the piece is the last of its file.
size_t count_lines(const char* text, size_t size, bool last);

// Lines "word f1 ... fd" (the last d fields are the numbers, only the byte 0x20 separates, white
// space at the end of the line does not count) into out (rows, d) and words (rows,), at most
// `rows` of them, on all threads. Numbers are correctly rounded to T, which is float or double.
template <class T>
RowsRead read_text_rows(const char* text, size_t size, bool last, size_t d, T* out, size_t rows,
                        WordSpan* words);

// Word, a space, d little-endian floats, perhaps a newline; into out (rows, d) and words (rows,).
// Stops at the last row that is whole within the piece. One thread copies as fast as two.
RowsRead read_binary_rows(const char* data, size_t size, size_t d, float* out, size_t rows,
                          WordSpan* words);

// The inverse of read_text_rows: lines "word f1 ... fd", words (n,), vectors (n, d), on all
// threads. A number has the fewest digits that give the float back, written as Python and NumPy do
// ("0.1",
// "-1.0", "1e-05", "nan").
std::string write_text_rows(const std::vector<std::string>& words, const float* vectors, size_t d);

}  // namespace firth::files
