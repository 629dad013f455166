// C++'s operators, all variants, as a program finds them that is linked with
// libgyre-malloc. Exit status 0: all as it should be.
// Design: docs/design/malloc.md .malloc.operators
#include <malloc.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#define CHECK(condition)                                        \
    do {                                                        \
        if (!(condition)) {                                     \
            std::printf("line %d: %s\n", __LINE__, #condition); \
            std::exit(1);                                       \
        }                                                       \
    } while (0)

// So large that it can't be had; hidden from the compiler.
static volatile std::size_t too_large =
    std::numeric_limits<std::size_t>::max() / 2 - 4096;

static void
plain()
{
    for (std::size_t size : {0, 1, 17, 300, 5000, 40000, 3000000}) {
        void *one = ::operator new(size);
        void *two = ::operator new[](size);
        void *three = ::operator new(size, std::nothrow);
        void *four = ::operator new[](size, std::nothrow);
        CHECK(one && two && three && four && one != two);
        CHECK(malloc_usable_size(one) >= size);
        std::memset(one, 1, size);
        ::operator delete(one);
        ::operator delete[](two);
        ::operator delete(three, std::nothrow);
        ::operator delete[](four, std::nothrow);
        ::operator delete(::operator new(size), size);
        ::operator delete[](::operator new[](size), size);
    }
    ::operator delete(nullptr);
}

static void
aligned()
{
    for (std::size_t step = 16; step <= 65536; step *= 4) {
        std::align_val_t alignment{step};
        void *one = ::operator new(100, alignment);
        void *two = ::operator new[](100, alignment);
        void *three = ::operator new(100, alignment, std::nothrow);
        void *four = ::operator new[](100, alignment, std::nothrow);
        for (void *block : {one, two, three, four})
            CHECK(block && reinterpret_cast<std::uintptr_t>(block) % step == 0);
        ::operator delete(one, alignment);
        ::operator delete[](two, alignment);
        ::operator delete(three, alignment, std::nothrow);
        ::operator delete[](four, alignment, std::nothrow);
        ::operator delete(::operator new(40, alignment), 40, alignment);
        ::operator delete[](::operator new[](40, alignment), 40, alignment);
    }
}

template <typename Make>
static bool
throws(Make make)
{
    try {
        (void)make();
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

static int handled;

static void
give_up_at_the_third()
{
    if (++handled == 3)
        std::set_new_handler(nullptr);
}

static void
out_of_memory()
{
    std::align_val_t alignment{64};
    CHECK(throws([] { return ::operator new(too_large); }));
    CHECK(throws([] { return ::operator new[](too_large); }));
    CHECK(throws([=] { return ::operator new(too_large, alignment); }));
    CHECK(throws([=] { return ::operator new[](too_large, alignment); }));
    CHECK(::operator new(too_large, std::nothrow) == nullptr);
    CHECK(::operator new[](too_large, std::nothrow) == nullptr);
    CHECK(::operator new(too_large, alignment, std::nothrow) == nullptr);
    CHECK(::operator new[](too_large, alignment, std::nothrow) == nullptr);
    std::set_new_handler(give_up_at_the_third);
    CHECK(throws([] { return ::operator new(too_large); }));
    CHECK(handled == 3);
    CHECK(std::get_new_handler() == nullptr);
}

struct alignas(128) Wide {
    char bytes[128];
};

// Destructors of thread-locals allocate while their thread ends.
struct Late {
    std::vector<std::string> words;
    ~Late()
    {
        for (int i = 0; i < 100; i++)
            words.push_back(std::string(i, 'x'));
    }
};
static thread_local Late late;

static void
as_programs_do()
{
    std::map<int, std::unique_ptr<Wide>> map;
    for (int i = 0; i < 1000; i++)
        map[i * 7 % 1000] = std::make_unique<Wide>();
    for (auto &entry : map)
        CHECK(reinterpret_cast<std::uintptr_t>(entry.second.get()) % 128 == 0);
    for (int i = 0; i < 50; i++) {
        std::vector<std::string> made;
        std::thread([&] {
            late.words.push_back("begun");
            for (int k = 0; k < 200; k++)
                made.push_back(std::string(k, 'y'));
        }).join();
        CHECK(made.size() == 200 && made[199].size() == 199);
    }
}

int
main()
{
    plain();
    aligned();
    out_of_memory();
    as_programs_do();
    return 0;
}
