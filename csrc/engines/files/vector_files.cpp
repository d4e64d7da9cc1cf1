// Reading a piece of text takes two parallel passes: lines are counted, so that each part knows its
// first row, then parsed. A number of up to 19 digits whose value and power of ten are exact
// doubles takes one multiplication or division (Clinger 1990, "How to Read Floating Point Numbers
// Accurately"); others go to std::from_chars. The double is rounded once more to a float, which is
// right unless it lies exactly between two floats; those go to std::from_chars as well.
#include "engines/files/vector_files.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "parallel.h"

#if !defined(__cpp_lib_to_chars)
#include <xlocale.h>
#endif

namespace firth::files {
namespace {

const double kPowersOfTen[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                               1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                               1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

// Where the byte is in [p, end), else end.
const char* find(const char* p, const char* end, char byte) {
    const void* found = p < end ? std::memchr(p, byte, static_cast<size_t>(end - p)) : nullptr;
    return found ? static_cast<const char*>(found) : end;
}

bool is_digit(char c) { return static_cast<unsigned char>(c - '0') < 10; }

// Eight characters that are all digits to their value, or false; Lemire's and Muła's arithmetic
// within one word.
bool eight_digits(const char* p, uint64_t* value) {
    uint64_t x;
    std::memcpy(&x, p, 8);
    if (((x & 0xf0f0f0f0f0f0f0f0) | (((x + 0x0606060606060606) & 0xf0f0f0f0f0f0f0f0) >> 4)) !=
        0x3333333333333333)
        return false;
    x -= 0x3030303030303030;
    x = x * 10 + (x >> 8);
    *value = ((x & 0x000000ff000000ff) * 0x000f424000000064 +
              ((x >> 16) & 0x000000ff000000ff) * 0x0000271000000001) >>
             32;
    return true;
}

// The whole of [p, end) as std::from_chars reads it; beyond the range infinity or zero.
template <class T>
bool parse_any(const char* p, const char* end, T* value) {
    if (p < end && *p == '+') {
        p++;
        if (p < end && *p == '-') return false;
    }
    if (p == end || end - p > 4000) return false;
#if defined(__cpp_lib_to_chars)
    const std::from_chars_result result = std::from_chars(p, end, *value);
    if (result.ptr != end) return false;
    if (result.ec != std::errc::result_out_of_range) return result.ec == std::errc();
    double wide;
    if (sizeof(T) < sizeof wide && std::from_chars(p, end, wide).ec == std::errc()) {
        *value = static_cast<T>(wide);  // infinity, zero, or the smallest number
        return true;
    }
    const bool negative = *p == '-';
    p += negative;
    const char* e = find(p, end, 'e');
    if (e == end) e = find(p, end, 'E');
    const bool tiny = e + 1 < end ? e[1] == '-' : *p == '0' || *p == '.';
    *value = tiny ? T(0) : std::numeric_limits<T>::infinity();
    if (negative) *value = -*value;
    return true;
#else
    // libc++ before 20. Strings that only strtod takes (hexadecimal, leading space) are refused.
    const char* const allowed = "0123456789+-.eEinfatyINFATY";
    for (const char* c = p; c < end; c++)
        if (!*c || !std::strchr(allowed, *c)) return false;
    const std::string text(p, end);
    char* stop;
    *value = sizeof(T) == 4 ? static_cast<T>(strtof_l(text.c_str(), &stop, nullptr))
                            : static_cast<T>(strtod_l(text.c_str(), &stop, nullptr));
    return stop == text.c_str() + text.size();
#endif
}

bool round_to(double exact, double* value) {
    *value = exact;
    return true;
}

// False where the float is to be found from the digits: halfway between two floats, or denormal.
bool round_to(double exact, float* value) {
    uint64_t bits;
    std::memcpy(&bits, &exact, 8);
    *value = static_cast<float>(exact);
    return (bits & 0x1fffffff) != 0x10000000 &&
           (std::fabs(exact) >= std::numeric_limits<float>::min() || exact == 0);
}

// The number from p to the next space or `end`; returns its end, nullptr if it is invalid.
template <class T>
const char* parse_number(const char* p, const char* end, T* value) {
    const char* const start = p;
    const bool negative = p < end && *p == '-';
    if (negative) p++;
    uint64_t digits = 0, eight;
    const char* const first = p;
    for (; p < end && is_digit(*p); p++) digits = digits * 10 + static_cast<uint64_t>(*p - '0');
    size_t length = static_cast<size_t>(p - first);
    int64_t power = 0;
    if (p < end && *p == '.') {
        const char* const fraction = ++p;
        while (end - p >= 8 && eight_digits(p, &eight)) {
            digits = digits * 100000000 + eight;
            p += 8;
        }
        for (; p < end && is_digit(*p); p++) digits = digits * 10 + static_cast<uint64_t>(*p - '0');
        length += static_cast<size_t>(p - fraction);
        power = fraction - p;
    }
    if (length > 0 && end - p >= 2 && (*p == 'e' || *p == 'E')) {
        const char* q = p + 1;
        const bool down = *q == '-';
        if (*q == '-' || *q == '+') q++;
        int64_t exponent = 0;
        const char* const from = q;
        for (; q < end && q - from < 4 && is_digit(*q); q++) exponent = exponent * 10 + (*q - '0');
        if (q > from) {
            power += down ? -exponent : exponent;
            p = q;
        }
    }
    if (length > 0 && length <= 19 && digits <= (uint64_t{1} << 53) && power >= -22 &&
        power <= 22 && (p == end || *p == ' ')) {
        double exact = static_cast<double>(digits);
        exact = power < 0 ? exact / kPowersOfTen[-power] : exact * kPowersOfTen[power];
        if (round_to(negative ? -exact : exact, value)) return p;
    }
    const char* const stop = find(start, end, ' ');
    return parse_any(start, stop, value) ? stop : nullptr;
}

// d numbers, one space between them, that fill [p, end).
template <class T>
bool parse_numbers(const char* p, const char* end, size_t d, T* out) {
    for (size_t j = 0; j < d; j++) {
        p = parse_number(p, end, out + j);
        if (!p) return false;
        if (j + 1 == d) return p == end;
        if (p == end) return false;
        p++;  // the space
    }
    return false;
}

template <class T>
bool parse_line(const char* line, const char* end, size_t d, T* out, const char** word_end) {
    while (end > line && (end[-1] == ' ' || end[-1] == '\r' || end[-1] == '\t')) end--;
    *word_end = line;
    // Most words have no space: the numbers begin behind the first one.
    const char* space = find(line, end, ' ');
    if (space == end) return false;
    *word_end = space;
    if (parse_numbers(space + 1, end, d, out)) return true;
    space = end;
    for (size_t j = 0; j < d; j++) {
        do {
            if (space == line) return false;
            space--;
        } while (*space != ' ');
    }
    *word_end = space;
    return parse_numbers(space + 1, end, d, out);
}

bool is_blank(const char* line, const char* end) {
    for (; line < end; line++)
        if (*line != ' ' && !(*line >= '\t' && *line <= '\r')) return false;
    return true;
}

size_t count_newlines(const char* p, const char* end) {
    size_t count = 0;
    for (; p < end; p++) count += *p == '\n';  // the compiler makes vectors of it
    return count;
}

// Where the parts of a text begin (each at a line), and its end.
std::vector<const char*> text_parts(const char* text, size_t size) {
    const size_t wanted = static_cast<size_t>(num_threads()) * 4;
    const size_t parts = std::max<size_t>(1, std::min(wanted, size >> 14));
    const char* const end = text + size;
    std::vector<const char*> starts{text};
    for (size_t i = 1; i < parts; i++) {
        const char* stop = find(std::max(text + size / parts * i, starts.back()), end, '\n');
        if (stop < end) starts.push_back(stop + 1);
    }
    starts.push_back(end);
    return starts;
}

}  // namespace

size_t count_lines(const char* text, size_t size, bool last) {
    const std::vector<const char*> starts = text_parts(text, size);
    std::vector<size_t> counts(starts.size() - 1);
    parallel_for(counts.size(), 1,
                 [&](size_t i, size_t) { counts[i] = count_newlines(starts[i], starts[i + 1]); });
    size_t total = last && size && text[size - 1] != '\n';
    for (const size_t count : counts) total += count;
    return total;
}

template <class T>
RowsRead read_text_rows(const char* text, size_t size, bool last, size_t d, T* out, size_t rows,
                        WordSpan* words) {
    // Without its end an unfinished line is left for the next piece.
    if (!last)
        while (size > 0 && text[size - 1] != '\n') size--;
    struct Part {
        size_t first = 0;           // row
        const char* bad = nullptr;  // line
        const char* stop = nullptr;
    };
    const std::vector<const char*> starts = text_parts(text, size);
    std::vector<Part> parts(starts.size());
    parallel_for(starts.size() - 1, 1, [&](size_t i, size_t) {
        parts[i + 1].first = count_newlines(starts[i], starts[i + 1]);
    });
    for (size_t i = 1; i < parts.size(); i++) parts[i].first += parts[i - 1].first;
    size_t total = parts.back().first + (size > 0 && text[size - 1] != '\n');
    parallel_for(starts.size() - 1, 1, [&](size_t i, size_t) {
        Part& part = parts[i];
        const char* line = starts[i];
        const char* const end = starts[i + 1];
        for (size_t row = part.first; line < end && row < rows; row++) {
            const char* const stop = find(line, end, '\n');
            const char* word_end = line;
            if (parse_line(line, stop, d, out + row * d, &word_end)) {
                words[row] = {line - text, word_end - text};
            } else if (is_blank(line, stop)) {
                words[row] = {-1, -1};
            } else {
                part.bad = line;
                return;
            }
            line = std::min(stop + 1, end);
            part.stop = line;
        }
    });
    RowsRead result{std::min(total, rows), 0, -1};
    for (const Part& part : parts) {
        if (part.stop) result.consumed = static_cast<size_t>(part.stop - text);
        if (part.bad) {
            result.bad = part.bad - text;
            break;
        }
    }
    return result;
}

template RowsRead read_text_rows(const char*, size_t, bool, size_t, float*, size_t, WordSpan*);
template RowsRead read_text_rows(const char*, size_t, bool, size_t, double*, size_t, WordSpan*);

RowsRead read_binary_rows(const char* data, size_t size, size_t d, float* out, size_t rows,
                          WordSpan* words) {
    const size_t bytes = 4 * d;
    RowsRead result{0, 0, -1};
    size_t position = 0;
    // The end of a word is looked for from its start, so bytes 0x0A and 0x20 within the floats do
    // no harm; the newline behind a vector is one in front of the next word.
    while (result.rows < rows && position < size) {
        const size_t space = static_cast<size_t>(find(data + position, data + size, ' ') - data);
        if (size - space < 1 + bytes) break;
        while (position < space && data[position] == '\n') position++;
        std::memcpy(out + result.rows * d, data + space + 1, bytes);
        words[result.rows++] = {static_cast<int64_t>(position), static_cast<int64_t>(space)};
        result.consumed = position = space + 1 + bytes;
    }
    return result;
}

namespace {

// The digits (no point) and the decimal exponent of the first, of a finite positive number.
size_t shortest_digits(float value, char* digits, int* exponent) {
    char text[32];
#if defined(__cpp_lib_to_chars)
    const char* end = std::to_chars(text, text + 32, value, std::chars_format::scientific).ptr;
    text[end - text] = 0;
#else
    for (int precision = 0; precision < 9; precision++) {
        std::snprintf(text, sizeof text, "%.*e", precision, static_cast<double>(value));
        if (std::strtof(text, nullptr) == value) break;
    }
#endif
    size_t count = 0;
    const char* p = text;
    for (; *p && *p != 'e'; p++)
        if (is_digit(*p)) digits[count++] = *p;
    *exponent = std::atoi(p + 1);
    return count;
}

char* put(char* out, const char* text) {
    const size_t length = std::strlen(text);
    std::memcpy(out, text, length);
    return out + length;
}

// A space and a number, d times; returns the end of what is written, at most 26 bytes a number.
char* write_numbers(const float* row, size_t d, char* out) {
    for (size_t j = 0; j < d; j++) {
        *out++ = ' ';
        float value = row[j];
        if (std::isnan(value)) {
            out = put(out, "nan");
            continue;
        }
        if (std::signbit(value)) {
            *out++ = '-';
            value = -value;
        }
        if (std::isinf(value) || value == 0) {
            out = put(out, value == 0 ? "0.0" : "inf");
            continue;
        }
        char digits[32] = {};
        int exponent;
        const size_t count = shortest_digits(value, digits, &exponent);
        const int places = static_cast<int>(count);
        if (static_cast<double>(value) < 1e-4 || value >= 1e6f) {  // NumPy's bounds since 2.4
            *out++ = digits[0];
            if (count > 1) {
                *out++ = '.';
                std::memcpy(out, digits + 1, count - 1);
                out += count - 1;
            }
            out += std::snprintf(out, 8, "e%c%02d", exponent < 0 ? '-' : '+', std::abs(exponent));
            continue;
        }
        if (exponent < 0) {
            out = put(out, "0.");
            for (int zero = exponent + 1; zero < 0; zero++) *out++ = '0';
        }
        for (int i = 0; i < std::max(places, exponent + 1); i++) {
            if (exponent >= 0 && i == exponent + 1) *out++ = '.';
            *out++ = i < places ? digits[i] : '0';
        }
        if (exponent >= 0 && places <= exponent + 1) out = put(out, ".0");
    }
    return out;
}

}  // namespace

std::string write_text_rows(const std::vector<std::string>& words, const float* vectors, size_t d) {
    constexpr size_t kRows = 64;
    std::vector<std::string> parts((words.size() + kRows - 1) / kRows);
    parallel_for(words.size(), kRows, [&](size_t begin, size_t end) {
        std::vector<char> numbers(26 * d + 1);
        std::string& part = parts[begin / kRows];
        for (size_t row = begin; row < end; row++) {
            char* stop = write_numbers(vectors + row * d, d, numbers.data());
            *stop++ = '\n';
            part += words[row];
            part.append(numbers.data(), stop);
        }
    });
    std::string result;
    for (const std::string& part : parts) result += part;
    return result;
}

}  // namespace firth::files
