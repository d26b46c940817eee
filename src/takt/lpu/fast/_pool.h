/* Helpers for large matrix products: threads that take chunks of the job that is going on.

   The pool belongs to the process and to one run at a time; a second run at the same time does without. Helpers spin
   while a run lasts (jobs are some microseconds long) and sleep between runs. The run never depends on a helper: each
   computes into its own scratch and may only copy the result if the run has not lost patience and done the chunk itself,
   for a helper that has lost its processor would hold up everything. So a late helper may still be looking at an old
   job; hence jobs live in slots that are used again only when nobody is in them, and a run ends when all slots are left.
   After a fork there are no helpers; they come back with the next run. */
#ifndef TAKT_POOL_H
#define TAKT_POOL_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "_tape.h"

#define MAX_HELPERS 63
#define N_SLOTS 4
#define MAX_CHUNKS 32
#define PATIENCE 200 /* pauses that the run waits for a helper's chunk */

enum { FREE, OWN, TAKEN, COPYING, DONE };

typedef struct {
    void (*compute)(int slot, int chunk, uint32_t *out);
    void (*copy)(int slot, int chunk, const uint32_t *from);
    uint32_t *out;
    int chunks;
    atomic_int users;
    atomic_int state[MAX_CHUNKS];
} Slot;

static Slot slots[N_SLOTS];

static struct {
    pthread_mutex_t owner, lock;
    pthread_cond_t wake;
    pid_t pid;
    int n_helpers;
    atomic_int wanted; /* helpers of the run that goes on; 0 between runs */
    atomic_int open;   /* 1 + the slot of the job to join, or 0 */
} pool = {.owner = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int change(atomic_int *state, int from, int to) { return atomic_compare_exchange_strong(state, &from, to); }

/* Chunks from the last one down; the run itself comes from the other end. */
static void help(int number, uint32_t *scratch) {
    Slot *slot = &slots[number];
    for (int i = slot->chunks - 1; i >= 0; i--) {
        if (!change(&slot->state[i], FREE, TAKEN)) continue;
        slot->compute(number, i, scratch);
        if (!change(&slot->state[i], TAKEN, COPYING)) continue; /* too late */
        slot->copy(number, i, scratch);
        atomic_store(&slot->state[i], DONE);
    }
}

static void *helper(void *number) {
    int mine = (int)(intptr_t)number, idle = 0;
    uint32_t scratch[MAX_ROWS * LANES];
    for (;;) {
        if (atomic_load_explicit(&pool.wanted, memory_order_relaxed) <= mine) {
            pthread_mutex_lock(&pool.lock);
            while (atomic_load(&pool.wanted) <= mine) pthread_cond_wait(&pool.wake, &pool.lock);
            pthread_mutex_unlock(&pool.lock);
        }
        int open = atomic_load_explicit(&pool.open, memory_order_relaxed);
        if (!open) {
            pause_briefly();
            if (++idle > 2000) sched_yield(), idle = 1900;
            continue;
        }
        /* Enter first, then look again: a slot is filled only while nobody is in it and it is not open. */
        atomic_fetch_add(&slots[open - 1].users, 1);
        if (atomic_load(&pool.open) == open) help(open - 1, scratch), idle = 0;
        atomic_fetch_sub(&slots[open - 1].users, 1);
        pause_briefly();
    }
    return NULL;
}

/* A slot that nobody is in, or −1. */
static int free_slot(void) {
    for (int i = 0; i < N_SLOTS; i++)
        if (!atomic_load(&slots[i].users)) return i;
    return -1;
}

/* All chunks of the job in a slot, its functions and `out` filled in; only the run that owns the pool calls this. */
static void run_chunks(int number) {
    Slot *slot = &slots[number];
    for (int i = 0; i < slot->chunks; i++) atomic_store_explicit(&slot->state[i], FREE, memory_order_relaxed);
    atomic_store(&pool.open, number + 1);
    for (int i = 0; i < slot->chunks; i++)
        if (change(&slot->state[i], FREE, OWN)) slot->compute(number, i, slot->out);
    atomic_store(&pool.open, 0);
    for (int i = slot->chunks - 1; i >= 0; i--) {
        if (atomic_load(&slot->state[i]) == OWN) continue;
        for (int n = 0; n < PATIENCE && atomic_load(&slot->state[i]) != DONE; n++) pause_briefly();
        if (change(&slot->state[i], TAKEN, OWN)) slot->compute(number, i, slot->out);
        else
            for (int n = 0; atomic_load(&slot->state[i]) != DONE; n++) n < PATIENCE ? pause_briefly() : (void)sched_yield();
    }
}

/* Make the pool this run's, with up to `threads` − 1 helpers. Returns the threads it has: 1 means no pool. */
static int pool_begin(int threads) {
    if (threads <= 1) return 1;
    if (pool.pid != getpid()) { /* first use, or a fork: the parent's helpers and locks are not ours */
        pthread_mutex_init(&pool.owner, NULL);
        pthread_mutex_init(&pool.lock, NULL);
        pthread_cond_init(&pool.wake, NULL);
        pool.pid = getpid(), pool.n_helpers = 0;
        atomic_store(&pool.wanted, 0);
        atomic_store(&pool.open, 0);
        for (int i = 0; i < N_SLOTS; i++) atomic_store(&slots[i].users, 0);
    }
    if (pthread_mutex_trylock(&pool.owner)) return 1;
    int helpers = threads - 1 < MAX_HELPERS ? threads - 1 : MAX_HELPERS;
    while (pool.n_helpers < helpers) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, helper, (void *)(intptr_t)pool.n_helpers)) break;
        pthread_detach(thread);
        pool.n_helpers++;
    }
    helpers = helpers < pool.n_helpers ? helpers : pool.n_helpers;
    pthread_mutex_lock(&pool.lock);
    atomic_store(&pool.wanted, helpers);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
    return helpers + 1;
}

static void pool_end(int threads) {
    if (threads <= 1) return;
    atomic_store(&pool.wanted, 0);
    for (int i = 0; i < N_SLOTS; i++)
        while (atomic_load(&slots[i].users)) sched_yield(); /* the tape may be gone when the run has ended */
    pthread_mutex_unlock(&pool.owner);
}

#endif
