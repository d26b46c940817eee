/* Records, growing arrays, the event heap: what the rest of the engine stands on. Layouts are those of records.py. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define NOBODY (-1)
#define NEVER_NS ((int64_t)1 << 62)

typedef struct {
    int64_t arrival_ns, session;
    int32_t prompt_tokens, output_tokens, tier, turn, group, group_tokens, seen_tokens, unused;
} Request;

typedef struct {
    int64_t request, arrival_ns, scheduled_ns, first_ns, last_ns;
    int32_t prompt_tokens, output_tokens, cached_tokens, tier, replica, preemptions, fate, turn;
} Finished;

typedef struct {
    int64_t time_ns, request;
    int32_t kind, replica;
    int64_t a, b, c, d;
} Event;

typedef struct {
    int64_t on_ns, busy_ns, steps, generated_tokens, read_tokens, cached_tokens, sent_tokens, preemptions,
        failures, peak_blocks;
    double block_ns, energy_j;
} Sums;

enum Fate { DONE, REJECTED, TOO_LONG };
enum EventKind {
    ARRIVE, ROUTE, REJECT, ADMIT, FIRST, FINISH, PREEMPT, SEND, RECEIVE, LOSE, STEP, START, UP, DRAIN, OFF, FAIL, SAMPLE
};

/* Growing arrays: grow() makes room for one more of `size` bytes; 0 where memory is out. */
static int grow(void **items, int64_t count, int64_t *room, size_t size) {
    if (count < *room) return 1;
    int64_t more = *room ? 2 * *room : 16;
    void *moved = realloc(*items, (size_t)more * size);
    if (!moved) return 0;
    *items = moved;
    *room = more;
    return 1;
}

#define LIST(Name, Item)                                                                                               \
    typedef struct {                                                                                                   \
        Item *items;                                                                                                   \
        int64_t count, room;                                                                                           \
    } Name

struct Job;
LIST(Jobs, struct Job *);

static int push_job(Jobs *list, struct Job *job) {
    if (!grow((void **)&list->items, list->count, &list->room, sizeof(*list->items))) return 0;
    list->items[list->count++] = job;
    return 1;
}

static int64_t index_of(const Jobs *list, const struct Job *job) {
    for (int64_t i = 0; i < list->count; i++)
        if (list->items[i] == job) return i;
    return -1;
}

static void remove_job(Jobs *list, const struct Job *job) {
    int64_t i = index_of(list, job);
    if (i < 0) return;
    memmove(list->items + i, list->items + i + 1, (size_t)(list->count - i - 1) * sizeof(*list->items));
    list->count--;
}

/* What is to happen, by (time, rank, order of scheduling). */
enum Happening { FAILING, COMING_UP, STEP_ENDS, CACHE_ARRIVES, TALK_ARRIVES, TURN_ARRIVES, SCALING, SAMPLING };
static const int32_t RANK[] = {0, 0, 1, 2, 3, 3, 4, 5};

typedef struct {
    int64_t time_ns, sequence;
    int32_t what, replica;
    struct Job *job;
    int64_t request, version; /* of the job or replica when this was scheduled: void if they have changed */
} Coming;

LIST(Heap, Coming);

static int before(const Coming *x, const Coming *y) {
    if (x->time_ns != y->time_ns) return x->time_ns < y->time_ns;
    if (RANK[x->what] != RANK[y->what]) return RANK[x->what] < RANK[y->what];
    return x->sequence < y->sequence;
}

static int heap_push(Heap *heap, Coming coming) {
    if (!grow((void **)&heap->items, heap->count, &heap->room, sizeof(Coming))) return 0;
    int64_t i = heap->count++;
    while (i > 0 && before(&coming, heap->items + (i - 1) / 2)) {
        heap->items[i] = heap->items[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap->items[i] = coming;
    return 1;
}

static Coming heap_pop(Heap *heap) {
    Coming first = heap->items[0], last = heap->items[--heap->count];
    int64_t i = 0, n = heap->count;
    for (;;) {
        int64_t child = 2 * i + 1;
        if (child >= n) break;
        if (child + 1 < n && before(heap->items + child + 1, heap->items + child)) child++;
        if (!before(heap->items + child, &last)) break;
        heap->items[i] = heap->items[child];
        i = child;
    }
    if (n) heap->items[i] = last;
    return first;
}
