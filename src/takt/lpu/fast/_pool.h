/* Helpers for large matrix products: threads that take chunks of one job at a time.

   The pool belongs to the process and to one run at a time; a second run at the same time does without. Helpers spin
   while a run lasts (jobs are some microseconds long) and sleep between runs. After a fork there are none; they come
   back with the next run. */
#ifndef TAKT_POOL_H
#define TAKT_POOL_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#define MAX_HELPERS 63

typedef void (*ChunkFn)(void *, int);

static struct {
    pthread_mutex_t owner, lock;
    pthread_cond_t wake;
    pid_t pid;
    int n_helpers;
    atomic_int wanted;  /* helpers of the run that goes on; 0 between runs */
    atomic_int open;    /* a job is there to join */
    atomic_int joined;  /* helpers inside the job */
    atomic_int next;    /* chunk to take */
    ChunkFn work;
    void *job;
    int chunks;
} pool = {.owner = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void take_chunks(void) {
    int chunk;
    while ((chunk = atomic_fetch_add(&pool.next, 1)) < pool.chunks) pool.work(pool.job, chunk);
}

static void *helper(void *number) {
    int mine = (int)(intptr_t)number, idle = 0;
    for (;;) {
        if (atomic_load(&pool.wanted) <= mine) {
            pthread_mutex_lock(&pool.lock);
            while (atomic_load(&pool.wanted) <= mine) pthread_cond_wait(&pool.wake, &pool.lock);
            pthread_mutex_unlock(&pool.lock);
        }
        if (!atomic_load_explicit(&pool.open, memory_order_relaxed)) {
            pause_briefly();
            if (++idle > 2000) sched_yield(), idle = 1900;
            continue;
        }
        /* Join first, then look again: the owner closes the job first, then waits for those who joined. */
        atomic_fetch_add(&pool.joined, 1);
        if (atomic_load(&pool.open)) take_chunks();
        atomic_fetch_sub(&pool.joined, 1);
        idle = 0;
    }
    return NULL;
}

/* All chunks of a job, by the caller and the helpers; only the run that owns the pool calls this. */
static void run_chunks(ChunkFn work, void *job, int chunks) {
    pool.work = work, pool.job = job, pool.chunks = chunks;
    atomic_store(&pool.next, 0);
    atomic_store(&pool.open, 1);
    take_chunks();
    atomic_store(&pool.open, 0);
    while (atomic_load(&pool.joined)) pause_briefly();
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
        atomic_store(&pool.joined, 0);
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
    pthread_mutex_unlock(&pool.owner);
}

#endif
