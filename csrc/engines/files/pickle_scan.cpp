// Opcodes, their arguments and what they do to the stack are those of Python's Lib/pickletools.py.
// Extension codes, persistent ids and out-of-band buffers count as unknown.
#include "engines/files/pickle_scan.h"

#include <cstring>
#include <vector>

namespace firth::files {
namespace {

constexpr uint64_t kLongestInteger = 1024;  // bytes or digits

// The little-endian number in count (at most 8) bytes.
uint64_t number(const char* p, size_t count) {
    uint64_t value = 0;
    for (size_t i = count; i-- > 0;) value = value << 8 | static_cast<unsigned char>(p[i]);
    return value;
}

// The decimal number in size characters; false for an invalid number or one above `most`.
bool parse(const char* p, size_t size, uint64_t most, uint64_t& value) {
    value = 0;
    for (size_t i = 0; i < size; i++) {
        if (p[i] < '0' || p[i] > '9') return false;
        value = value * 10 + static_cast<uint64_t>(p[i] - '0');
        if (value > most) return false;
    }
    return size > 0;
}

// What matters of an object: what its hash costs. kFlat: a tuple of at most three other objects.
enum class Kind : char { kOther, kFlat, kTuple };

// The unpickler's stack and memo. All functions return false where the unpickler would fail, or
// would hash a tuple that is not flat.
class Machine {
  public:
    bool push(Kind kind = Kind::kOther) {
        stack_.push_back(kind);
        return true;
    }

    bool mark() {
        marks_.push_back(stack_.size());
        return true;
    }

    bool pop(size_t count) {
        if (above_mark() < count) return false;
        stack_.resize(stack_.size() - count);
        return true;
    }

    bool pop_mark() {
        if (marks_.empty()) return false;
        stack_.resize(marks_.back());
        marks_.pop_back();
        return true;
    }

    // A tuple of the last `count` objects in their place.
    bool make_tuple(size_t count) {
        if (above_mark() < count) return false;
        Kind kind = Kind::kFlat;
        for (size_t i = 1; i <= count; i++)
            if (stack_[stack_.size() - i] != Kind::kOther) kind = Kind::kTuple;
        return pop(count) && push(kind);
    }

    // Whether the unpickler may hash each `step`-th object above the last mark.
    bool hashable(size_t step) const {
        for (size_t i = stack_.size() - above_mark(); i < stack_.size(); i += step)
            if (stack_[i] == Kind::kTuple) return false;
        return !marks_.empty();
    }

    // Takes a key and its value off, of a dict that stays.
    bool set_item() {
        return above_mark() > 2 && stack_[stack_.size() - 2] != Kind::kTuple && pop(2);
    }

    bool duplicate() { return above_mark() && push(stack_.back()); }

    bool put(uint64_t slot) {
        if (!above_mark() || slot > memo_.size() + 1) return false;  // slots are numbered in order
        if (slot >= memo_.size()) memo_.resize(slot + 1);
        memo_[slot] = stack_.back();
        return true;
    }
    bool put() { return put(memo_.size()); }

    bool get(uint64_t slot) { return slot < memo_.size() && push(memo_[slot]); }

    size_t above_mark() const { return stack_.size() - (marks_.empty() ? 0 : marks_.back()); }

  private:
    std::vector<Kind> stack_, memo_;
    std::vector<size_t> marks_;
};

}  // namespace

int64_t scan_pickle(const char* data, size_t size) {
    Machine machine;
    for (size_t at = 0; at < size;) {
        const int64_t bad = static_cast<int64_t>(at);
        const char opcode = data[at++];
        const size_t left = size - at;
        const char* bytes = data + at;

        // Pass 1: the length of the argument. `counted` bytes hold the length of what follows.
        size_t fixed = 0, counted = 0, lines = 0;
        switch (opcode) {
            case 'K':     // BININT1
            case 'h':     // BINGET
            case 'q':     // BINPUT
            case '\x80':  // PROTO
                fixed = 1;
                break;
            case 'M':  // BININT2
                fixed = 2;
                break;
            case 'J':  // BININT
            case 'j':  // LONG_BINGET
            case 'r':  // LONG_BINPUT
                fixed = 4;
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
            case 'I':  // numbers, strings, GET and PUT as text
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
                break;
        }
        if (left < fixed || left < counted) return bad;
        if (counted) {
            const uint64_t length = number(bytes, counted);
            if (length > left - counted) return bad;
            if (opcode == '\x8b' && length > kLongestInteger) return bad;
            at += counted + static_cast<size_t>(length);
        }
        at += fixed;
        for (size_t line = 0; line < lines; line++) {
            const void* end = std::memchr(data + at, '\n', size - at);
            if (!end) return bad;
            at = static_cast<size_t>(static_cast<const char*>(end) - data) + 1;
        }
        const size_t length = at - static_cast<size_t>(bad) - 1;  // of the argument
        uint64_t slot = 0;

        // Pass 2: what it does to the stack.
        bool sound = false;
        switch (opcode) {
            case '.':  // STOP
                return machine.above_mark() ? -1 : bad;
            case '\x80':
                sound = true;
                break;
            case '\x95':  // the unpickler makes room for the whole frame before it reads it
                sound = number(bytes, 8) <= size - at;
                break;
            case 'I':
            case 'L':
                sound = length <= kLongestInteger && machine.push();
                break;
            case 'F':
            case 'G':
            case 'K':
            case 'M':
            case 'J':
            case '\x8a':
            case '\x8b':
            case 'S':
            case 'T':
            case 'U':
            case 'V':
            case 'X':
            case '\x8c':
            case '\x8d':
            case 'B':
            case 'C':
            case '\x8e':
            case '\x96':
            case 'N':
            case '\x88':  // NEWTRUE, NEWFALSE
            case '\x89':
            case '}':
            case ']':
            case '\x8f':  // EMPTY_SET
            case 'c':
                sound = machine.push();
                break;
            case ')':
                sound = machine.push(Kind::kFlat);
                break;
            case '(':
                sound = machine.mark();
                break;
            case '0':  // POP: a mark, where it is on top
                sound = machine.pop(1) || machine.pop_mark();
                break;
            case '1':
                sound = machine.pop_mark();
                break;
            case '2':
                sound = machine.duplicate();
                break;
            case 't':
                sound = machine.pop_mark() && machine.push(Kind::kTuple);
                break;
            case '\x85':  // TUPLE1 to 3
            case '\x86':
            case '\x87':
                sound = machine.make_tuple(static_cast<unsigned char>(opcode) - 0x84u);
                break;
            case 'l':
            case 'i':
            case 'o':
                sound = machine.pop_mark() && machine.push();
                break;
            case 'd':
                sound = machine.hashable(2) && machine.pop_mark() && machine.push();
                break;
            case '\x91':  // FROZENSET
                sound = machine.hashable(1) && machine.pop_mark() && machine.push();
                break;
            case 'a':
            case 'b':
                sound = machine.pop(1) && machine.above_mark();
                break;
            case 'e':
                sound = machine.pop_mark() && machine.above_mark();
                break;
            case 's':
                sound = machine.set_item();
                break;
            case 'u':
                sound = machine.hashable(2) && machine.pop_mark() && machine.above_mark();
                break;
            case '\x90':  // ADDITEMS
                sound = machine.hashable(1) && machine.pop_mark() && machine.above_mark();
                break;
            case 'R':
            case '\x81':  // NEWOBJ
            case '\x93':  // STACK_GLOBAL
                sound = machine.pop(2) && machine.push();
                break;
            case '\x92':  // NEWOBJ_EX
                sound = machine.pop(3) && machine.push();
                break;
            case 'h':
            case 'j':
                sound = machine.get(number(bytes, fixed));
                break;
            case 'g':
                sound = parse(bytes, length - 1, size, slot) && machine.get(slot);
                break;
            case 'q':
            case 'r':
                sound = machine.put(number(bytes, fixed));
                break;
            case 'p':
                sound = parse(bytes, length - 1, size, slot) && machine.put(slot);
                break;
            case '\x94':  // MEMOIZE
                sound = machine.put();
                break;
            default:
                break;
        }
        if (!sound) return bad;
    }
    return static_cast<int64_t>(size);
}

}  // namespace firth::files
