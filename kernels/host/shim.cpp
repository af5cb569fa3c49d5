// shim.cpp: fibres, their meetings, shared memory and copies. See shim.h for what it promises.
#include "shim.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define SHIM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SHIM_ASAN 1
#endif
#endif
#ifdef SHIM_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace shim {

Fibre* current = nullptr;
uint3 block_index, block_size, grid_size;

namespace {

constexpr size_t kStack = 256 * 1024;
constexpr size_t kGuard = 4096;
constexpr unsigned kMostThreads = 1024;
// Of static shared memory, on every device.
constexpr size_t kMostShared = 48 * 1024;

struct Copy {
  void* to;
  const void* from;
  bool valid;
};

struct SharedArray {
  unsigned char* bytes;
  size_t size;
};

// The block that runs, and what blocks leave for the next.
struct Block {
  std::vector<Fibre> fibres;
  std::vector<unsigned> ready, fresh;
  std::vector<char*> all_stacks, free_stacks;
  std::vector<std::vector<std::vector<Copy>>> copies;  // by thread: groups, the last of them open
  std::map<std::pair<std::string, int>, SharedArray> shared;
  unsigned threads = 0, done = 0, at_barrier = 0;
  uint64_t seed = 0, state = 0;
  Start start = nullptr;
  void** arguments = nullptr;
  const char* kernel = "?";
  Fibre main{};
  const void* main_stack = nullptr;
  size_t main_size = 0;
};

Block block;
struct Kernel {
  Start start;
  unsigned most_threads;
};
std::map<std::string, Kernel>& kernels() {
  static std::map<std::string, Kernel> all;
  return all;
}
std::map<std::pair<std::string, int>, Site>& sites() {
  static std::map<std::pair<std::string, int>, Site> all;
  return all;
}
std::string left_out_file;
int left_out_line = 0;

uint64_t draw() {
  block.state += 0x9E3779B97F4A7C15ull;
  uint64_t z = block.state;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

// Fills memory whose content nobody may rely on, as the seed has it: ones (NaN as a float and as a half), zeros, or drawn bytes.
void spoil(void* memory, size_t bytes) {
  if (block.seed % 3 != 2) {
    memset(memory, block.seed % 3 == 0 ? 0xFF : 0, bytes);
    return;
  }
  uint64_t drawn = 0;
  for (size_t i = 0; i < bytes; i++, drawn >>= 8) {
    if (i % 8 == 0) drawn = draw();
    static_cast<unsigned char*>(memory)[i] = static_cast<unsigned char>(drawn);
  }
}

// Whether these 16 bytes lie in one of the block's shared arrays.
bool is_shared(const void* place) {
  const auto at = reinterpret_cast<uintptr_t>(place);
  for (const auto& [where, array] : block.shared) {
    const auto first = reinterpret_cast<uintptr_t>(array.bytes);
    if (at >= first && at + 16 <= first + array.size) return true;
  }
  return false;
}

#if defined(__x86_64__)
extern "C" void shim_switch(void** from, void* to);
asm(".text\n.globl shim_switch\n.type shim_switch,@function\nshim_switch:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp,(%rdi)\nmov %rsi,%rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n.size shim_switch,.-shim_switch\n");
#endif

void entry();

void prepare(Fibre* fibre) {
#if defined(__x86_64__)
  void** top = reinterpret_cast<void**>(fibre->stack + kGuard + kStack - 64);
  *--top = nullptr;  // keeps the stack as a call would leave it
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; i++) *--top = nullptr;
  fibre->stack_pointer = top;
#else
  auto* context = static_cast<ucontext_t*>(fibre->stack_pointer ? fibre->stack_pointer : (fibre->stack_pointer = new ucontext_t));
  getcontext(context);
  context->uc_stack.ss_sp = fibre->stack + kGuard;
  context->uc_stack.ss_size = kStack;
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
#endif
}

void change(Fibre* from, Fibre* to) {
  current = to;
#ifdef SHIM_ASAN
  const void* bottom = to->stack ? to->stack + kGuard : block.main_stack;
  size_t size = to->stack ? kStack : block.main_size;
  __sanitizer_start_switch_fiber(from->state == State::Done ? nullptr : &from->fake_stack, bottom, size);
#endif
#if defined(__x86_64__)
  shim_switch(&from->stack_pointer, to->stack_pointer);
#else
  if (!from->stack_pointer) from->stack_pointer = new ucontext_t;
  swapcontext(static_cast<ucontext_t*>(from->stack_pointer), static_cast<ucontext_t*>(to->stack_pointer));
#endif
#ifdef SHIM_ASAN
  __sanitizer_finish_switch_fiber(from->fake_stack, nullptr, nullptr);
#endif
}

char* take_stack() {
  if (block.free_stacks.empty()) {
    void* memory = mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, kGuard, PROT_NONE) != 0) report("no memory for a thread's stack");
    block.all_stacks.push_back(static_cast<char*>(memory));
    return block.all_stacks.back();
  }
  char* stack = block.free_stacks.back();
  block.free_stacks.pop_back();
  if (current && stack == current->stack) report("a thread would begin on the stack of the thread that runs");
#ifdef SHIM_ASAN
  __asan_unpoison_memory_region(stack + kGuard, kStack);
#endif
  return stack;
}

unsigned pick(std::vector<unsigned>& from) {
  // Seed 0: in order. Seed 1: the last first. Others: drawn.
  size_t at = block.seed == 0 ? 0 : block.seed == 1 ? from.size() - 1 : draw() % from.size();
  unsigned index = from[at];
  from.erase(from.begin() + at);
  return index;
}

// The next fibre that can run. `nullptr`: none can.
Fibre* next() {
  bool begin = !block.fresh.empty() && (block.ready.empty() || block.seed == 0 || (block.seed > 1 && draw() % 2));
  if (!begin && block.ready.empty()) return nullptr;
  Fibre* fibre = &block.fibres[pick(begin ? block.fresh : block.ready)];
  if (begin) {
    fibre->stack = take_stack();
    fibre->state = State::Ready;
    prepare(fibre);
  }
  return fibre;
}

[[noreturn]] void nobody_can_run() {
  char where[1024];
  size_t used = 0;
  unsigned shown = 0;
  for (unsigned i = 0; i < block.threads && shown < 6 && used < sizeof where - 160; i++) {
    const Fibre& fibre = block.fibres[i];
    if (fibre.state != State::AtBarrier && fibre.state != State::AtCollective) continue;
    used += snprintf(where + used, sizeof where - used, "; thread %u waits at %s (%s:%d)", i, fibre.site.what, fibre.site.file, fibre.site.line);
    shown++;
  }
  where[used] = 0;
  report("deadlock: %u of %u threads have ended and the others wait%s", block.done, block.threads, where);
}

void wait() {
  Fibre* me = current;
  Fibre* other = next();
  if (!other) nobody_can_run();
  if (other != me) change(me, other);
}

void wake(Fibre* fibre) {
  fibre->state = State::Ready;
  block.ready.push_back(fibre->index);
}

void entry() {
#ifdef SHIM_ASAN
  const void* bottom = nullptr;
  size_t size = 0;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
  if (!block.main_stack) block.main_stack = bottom, block.main_size = size;
#endif
  block.start(block.arguments);
  Fibre* me = current;
  size_t in_flight = 0;
  for (const auto& group : block.copies[me->index]) in_flight += group.size();
  if (in_flight && left_out_line == 0) report("thread %u ends with %zu copies that it has not waited for", me->index, in_flight);
  me->state = State::Done;
  block.done++;
  Fibre* other = block.done == block.threads ? &block.main : next();
  // Only now: who goes next may be a thread that begins, and it must not begin on this very stack.
  block.free_stacks.push_back(me->stack);
  if (!other) nobody_can_run();
  change(me, other);
  abort();
}

void run_block() {
  block.fibres.assign(block.threads, Fibre{});
  block.copies.assign(block.threads, {{}});
  block.ready.clear();
  block.fresh.clear();
  block.done = block.at_barrier = 0;
  for (auto& [place, array] : block.shared) spoil(array.bytes, array.size);
  for (unsigned i = 0; i < block.threads; i++) {
    Fibre& fibre = block.fibres[i];
    fibre.thread = {i % block_size.x, i / block_size.x % block_size.y, i / block_size.x / block_size.y};
    fibre.index = i, fibre.lane = i % 32, fibre.warp = i / 32;
    block.fresh.push_back(i);
  }
  block.main.state = State::Ready;
  change(&block.main, next());
  current = nullptr;
}

}  // namespace

void report(const char* format, ...) {
  char text[2048];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  int thread = current ? int(current->index) : -1;
  fprintf(stderr, "shim: kernel %s, block (%u,%u,%u), thread %d, seed %llu: %s\n", block.kernel, block_index.x, block_index.y, block_index.z,
          thread, static_cast<unsigned long long>(block.seed), text);
  fflush(stderr);
  _exit(3);
}

bool is_left_out(Site site) {
  sites().emplace(std::make_pair(std::string(site.file), site.line), site);
  if (site.line != left_out_line) return false;
  std::string file = site.file;
  return file.size() >= left_out_file.size() && file.compare(file.size() - left_out_file.size(), std::string::npos, left_out_file) == 0;
}

void leave_out(const char* file, int line) { left_out_file = file, left_out_line = line; }

void each_site(void (*each)(const Site&, void*), void* context) {
  for (const auto& [place, site] : sites()) each(site, context);
}

void barrier(Site site) {
  if (is_left_out(site)) return;
  Fibre* me = current;
  for (Fibre& other : block.fibres) {
    if (other.state == State::AtBarrier && (other.site.line != site.line || strcmp(other.site.file, site.file) != 0)) {
      report("is at the barrier of %s:%d while thread %u is at that of %s:%d", site.file, site.line, other.index, other.site.file, other.site.line);
    }
    if (other.state == State::AtBarrier) break;  // the others are where this one is
  }
  me->site = site;
  if (++block.at_barrier == block.threads) {
    block.at_barrier = 0;
    for (Fibre& other : block.fibres) {
      if (other.state == State::AtBarrier) wake(&other);
    }
    wake(me);
  } else {
    me->state = State::AtBarrier;
  }
  wait();
}

void collective(unsigned mask, Combine combine, Site site) {
  Fibre* me = current;
  Fibre* lanes = &block.fibres[me->warp * 32];
  unsigned there = std::min(32u, block.threads - me->warp * 32);
  if (!(mask >> me->lane & 1)) report("lane %u is not in the mask %08x that it names at %s (%s:%d)", me->lane, mask, site.what, site.file, site.line);
  me->mask = mask, me->combine = combine, me->site = site;
  unsigned waiting = 0;
  for (unsigned lane = 0; lane < 32; lane++) {
    if (!(mask >> lane & 1)) continue;
    if (lane >= there) report("the mask %08x names lane %u, the warp has %u (%s:%d)", mask, lane, there, site.file, site.line);
    const Fibre& other = lanes[lane];
    if (other.state == State::Done) report("lane %u has ended; lane %u waits for it at %s (%s:%d)", lane, me->lane, site.what, site.file, site.line);
    if (&other == me || other.state != State::AtCollective) continue;
    if (other.combine != combine || other.mask != mask || other.site.line != site.line) {
      report("lanes of one warp meet at different collectives: lane %u at %s (%s:%d), mask %08x; lane %u at %s (%s:%d), mask %08x", me->lane,
             site.what, site.file, site.line, mask, lane, other.site.what, other.site.file, other.site.line, other.mask);
    }
    waiting |= 1u << lane;
  }
  if ((waiting | 1u << me->lane) != mask) {
    me->state = State::AtCollective;
    return wait();
  }
  combine(lanes, mask);
  for (unsigned lane = 0; lane < 32; lane++) {
    if (mask >> lane & 1) wake(&lanes[lane]);
  }
  wait();
}

void meet_combine(Fibre*, unsigned) {}

void ballot_combine(Fibre* lanes, unsigned mask) {
  unsigned votes = 0;
  for (unsigned lane = 0; lane < 32; lane++) {
    unsigned vote = 0;
    if (mask >> lane & 1) memcpy(&vote, lanes[lane].in, sizeof vote);
    votes |= (vote ? 1u : 0u) << lane;
  }
  for (unsigned lane = 0; lane < 32; lane++) {
    if (mask >> lane & 1) memcpy(lanes[lane].out, &votes, sizeof votes);
  }
}

void* shared(size_t bytes, const char* file, int line) {
  SharedArray& array = block.shared[{file, line}];
  if (!array.bytes) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 128, bytes) != 0) report("no memory for %zu shared bytes", bytes);
    array = {static_cast<unsigned char*>(memory), bytes};
    size_t all = 0;
    for (const auto& [where, other] : block.shared) all += other.size;
    if (all > kMostShared) report("%zu bytes of shared memory: a kernel may have %zu", all, kMostShared);
    spoil(memory, bytes);
  }
  if (array.size != bytes) report("the shared array of %s:%d has %zu and then %zu bytes", file, line, array.size, bytes);
  return array.bytes;
}

void matrix_row(const void* row, unsigned lane) {
  if (reinterpret_cast<uintptr_t>(row) % 16) report("ldmatrix: the row of lane %u is not aligned to 16", lane);
  if (!is_shared(row)) report("ldmatrix: the row of lane %u does not lie in shared memory", lane);
}

void copy(void* to, const void* from, bool valid) {
  if (reinterpret_cast<uintptr_t>(to) % 16 || (valid && reinterpret_cast<uintptr_t>(from) % 16)) report("a copy of 16 bytes is not aligned to 16");
  if (!is_shared(to)) report("a copy of 16 bytes goes to what is not shared memory");
  if (valid && is_shared(from)) report("a copy of 16 bytes comes from shared memory");
  spoil(to, 16);
  block.copies[current->index].back().push_back({to, from, valid});
}

void copy_commit() { block.copies[current->index].emplace_back(); }

void copy_wait(unsigned pending, Site site) {
  if (is_left_out(site)) return;
  auto& groups = block.copies[current->index];
  // The open group is not committed: nobody waits for it.
  while (groups.size() > pending + 1) {
    for (const Copy& copy : groups.front()) copy.valid ? memcpy(copy.to, copy.from, 16) : memset(copy.to, 0, 16);
    groups.erase(groups.begin());
  }
}

// Of the kernel that is registered next: bounds and kernels are made known in the order in which they stand in a file.
static unsigned bound_of_next = kMostThreads;

Bound::Bound(unsigned most_threads, unsigned) { bound_of_next = most_threads; }

Registered::Registered(const char* name, Start start) {
  kernels()[name] = {start, bound_of_next};
  bound_of_next = kMostThreads;
}

void launch(const char* name, uint3 grid, uint3 size, void** arguments, uint64_t seed) {
  auto found = kernels().find(name);
  block.kernel = name, block.seed = seed, block.state = seed * 0x2545F4914F6CDD1Dull + 1;
  if (found == kernels().end()) report("there is no such kernel");
  uint64_t threads = uint64_t(size.x) * size.y * size.z, blocks = uint64_t(grid.x) * grid.y * grid.z;
  if (threads == 0 || threads > kMostThreads || blocks == 0 || grid.y > 65535 || grid.z > 65535) report("no device starts %llu blocks of %llu threads", static_cast<unsigned long long>(blocks), static_cast<unsigned long long>(threads));
  if (threads > found->second.most_threads) report("%llu threads, and its __launch_bounds__ are %u", static_cast<unsigned long long>(threads), found->second.most_threads);
  if (size.z > 64) report("no device starts a block that is %u deep", size.z);
  block.start = found->second.start, block.arguments = arguments, block.threads = unsigned(threads);
  block_size = size, grid_size = grid;
  std::vector<uint64_t> order(blocks);
  for (uint64_t i = 0; i < blocks; i++) order[i] = seed == 1 ? blocks - 1 - i : i;
  for (uint64_t i = blocks; seed > 1 && i > 1; i--) std::swap(order[i - 1], order[draw() % i]);
  for (uint64_t i : order) {
    block_index = {unsigned(i % grid.x), unsigned(i / grid.x % grid.y), unsigned(i / grid.x / grid.y)};
    run_block();
  }
  for (auto& [place, array] : block.shared) free(array.bytes);
  block.shared.clear();
}

}  // namespace shim
