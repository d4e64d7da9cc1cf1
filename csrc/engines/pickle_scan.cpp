// Opcodes and their arguments are those of Python's Lib/pickletools.py. Extension codes, persistent
// ids and out-of-band buffers count as unknown.
#include "engines/pickle_scan.h"

#include <cstring>

namespace firth {
namespace {

// The little-endian number in count (at most 8) bytes.
uint64_t number(const char* p, size_t count) {
    uint64_t value = 0;
    for (size_t i = count; i-- > 0;) value = value << 8 | static_cast<unsigned char>(p[i]);
    return value;
}

}  // namespace

int64_t scan_pickle(const char* data, size_t size) {
    for (size_t at = 0; at < size;) {
        const int64_t bad = static_cast<int64_t>(at);
        const char opcode = data[at++];
        const size_t left = size - at;
        const auto* bytes = data + at;
        size_t fixed = 0, counted = 0, lines = 0, memo = 0;
        switch (opcode) {
            case '.':  // STOP
                return -1;
            case '(':
            case '0':
            case '1':
            case '2':
            case 'R':
            case 'N':
            case 'a':
            case 'b':
            case 'd':
            case 'e':
            case 'o':
            case '}':
            case ']':
            case 'l':
            case 's':
            case 't':
            case 'u':
            case ')':
            case '\x81':  // NEWOBJ
            case '\x85':  // TUPLE1 to 3
            case '\x86':
            case '\x87':
            case '\x88':  // NEWTRUE, NEWFALSE
            case '\x89':
            case '\x8f':  // EMPTY_SET, ADDITEMS, FROZENSET, NEWOBJ_EX, STACK_GLOBAL, MEMOIZE
            case '\x90':
            case '\x91':
            case '\x92':
            case '\x93':
            case '\x94':
                break;
            case 'K':     // BININT1
            case 'h':     // BINGET
            case '\x80':  // PROTO
                fixed = 1;
                break;
            case 'q':  // BINPUT
                fixed = memo = 1;
                break;
            case 'M':  // BININT2
                fixed = 2;
                break;
            case 'J':  // BININT
            case 'j':  // LONG_BINGET
                fixed = 4;
                break;
            case 'r':  // LONG_BINPUT
                fixed = memo = 4;
                break;
            case 'G':     // BINFLOAT
            case '\x95':  // FRAME
                fixed = 8;
                break;
            case 'U':     // SHORT_BINSTRING
            case 'C':     // SHORT_BINBYTES
            case '\x8c':  // SHORT_BINUNICODE
            case '\x8a':  // LONG1
                counted = 1;
                break;
            case 'T':     // BINSTRING
            case 'B':     // BINBYTES
            case 'X':     // BINUNICODE
            case '\x8b':  // LONG4
                counted = 4;
                break;
            case '\x8d':  // BINUNICODE8
            case '\x8e':  // BINBYTES8
            case '\x96':  // BYTEARRAY8
                counted = 8;
                break;
            case 'I':  // numbers, strings, gets as text
            case 'L':
            case 'F':
            case 'S':
            case 'V':
            case 'g':
            case 'p':
                lines = 1;
                break;
            case 'c':  // GLOBAL, INST
            case 'i':
                lines = 2;
                break;
            default:
                return bad;
        }
        if (left < fixed || left < counted) return bad;
        if (counted) {
            const uint64_t length = number(bytes, counted);
            if (length > left - counted) return bad;
            at += counted + static_cast<size_t>(length);
        }
        if (memo && number(bytes, memo) > size) return bad;
        at += fixed;
        for (; lines > 0; lines--) {
            const void* end = std::memchr(data + at, '\n', size - at);
            if (!end) return bad;
            const size_t stop = static_cast<size_t>(static_cast<const char*>(end) - data);
            if (opcode == 'p') {  // PUT
                uint64_t slot = 0;
                for (size_t i = at; i < stop; i++) {
                    if (data[i] < '0' || data[i] > '9') return bad;
                    slot = slot * 10 + static_cast<uint64_t>(data[i] - '0');
                    if (slot > size) return bad;
                }
            }
            at = stop + 1;
        }
    }
    return static_cast<int64_t>(size);
}

}  // namespace firth
