/* The paged cache of a replica: blocks.py. Chains of groups and sessions lie in a hash table; the idle ones of them in a
   list, the longest unread first. */

typedef struct {
    int64_t own, group_blocks, session_blocks;
    int8_t reads_group, reads_session;
} Held;

typedef struct Chain {
    int64_t id, blocks, readers;
    int8_t is_group, is_idle;
    struct Chain *next, *older, *newer; /* next: in its bucket */
} Chain;

typedef struct {
    int64_t n_blocks, block_tokens, free, idle_blocks, own, kept; /* own, kept: for the law of conservation */
    int shift;                                                     /* log2 of block_tokens, -1 where that is none */
    int8_t prefixes;
    Chain **buckets, *oldest, *newest, *spare;
    int64_t n_buckets, n_chains;
} Cache;

static void cache_free(Cache *cache) {
    for (int64_t i = 0; i < cache->n_buckets; i++)
        for (Chain *chain = cache->buckets[i], *next; chain; chain = next) {
            next = chain->next;
            free(chain);
        }
    for (Chain *chain = cache->spare, *next; chain; chain = next) {
        next = chain->next;
        free(chain);
    }
    free(cache->buckets);
    memset(cache, 0, sizeof(*cache));
}

static void cache_init(Cache *cache, int64_t n_blocks, int64_t block_tokens, int prefixes) {
    memset(cache, 0, sizeof(*cache));
    cache->n_blocks = cache->free = n_blocks;
    cache->block_tokens = block_tokens;
    cache->prefixes = (int8_t)prefixes;
    cache->shift = -1;
    if (!(block_tokens & (block_tokens - 1)))
        for (cache->shift = 0; (int64_t)1 << cache->shift < block_tokens;) cache->shift++;
}

static int64_t available(const Cache *cache) { return cache->free + cache->idle_blocks; }

static int64_t whole_blocks(const Cache *cache, int64_t tokens) {
    return cache->shift >= 0 ? tokens >> cache->shift : tokens / cache->block_tokens;
}

static int64_t blocks_of(const Cache *cache, int64_t tokens) {
    return whole_blocks(cache, tokens + cache->block_tokens - 1);
}

static uint64_t hash_of(int is_group, int64_t id) {
    uint64_t x = (uint64_t)id * 2 + (uint64_t)is_group + 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static Chain *find_chain(const Cache *cache, int is_group, int64_t id) {
    if (!cache->n_buckets) return NULL;
    Chain *chain = cache->buckets[hash_of(is_group, id) & (uint64_t)(cache->n_buckets - 1)];
    while (chain && (chain->id != id || chain->is_group != is_group)) chain = chain->next;
    return chain;
}

static int more_buckets(Cache *cache) {
    int64_t n = cache->n_buckets ? 2 * cache->n_buckets : 64;
    Chain **buckets = calloc((size_t)n, sizeof(Chain *));
    if (!buckets) return 0;
    for (int64_t i = 0; i < cache->n_buckets; i++)
        for (Chain *chain = cache->buckets[i], *next; chain; chain = next) {
            next = chain->next;
            Chain **bucket = buckets + (hash_of(chain->is_group, chain->id) & (uint64_t)(n - 1));
            chain->next = *bucket;
            *bucket = chain;
        }
    free(cache->buckets);
    cache->buckets = buckets;
    cache->n_buckets = n;
    return 1;
}

static Chain *make_chain(Cache *cache, int is_group, int64_t id) {
    if (cache->n_chains >= cache->n_buckets && !more_buckets(cache)) return NULL;
    Chain *chain = cache->spare;
    if (chain) cache->spare = chain->next;
    else if (!(chain = malloc(sizeof(Chain)))) return NULL;
    Chain **bucket = cache->buckets + (hash_of(is_group, id) & (uint64_t)(cache->n_buckets - 1));
    *chain = (Chain){.id = id, .is_group = (int8_t)is_group, .next = *bucket};
    *bucket = chain;
    cache->n_chains++;
    return chain;
}

static void drop_chain(Cache *cache, Chain *chain) {
    Chain **at = cache->buckets + (hash_of(chain->is_group, chain->id) & (uint64_t)(cache->n_buckets - 1));
    while (*at != chain) at = &(*at)->next;
    *at = chain->next;
    chain->next = cache->spare;
    cache->spare = chain;
    cache->n_chains--;
}

static void leave_idle(Cache *cache, Chain *chain) {
    *(chain->older ? &chain->older->newer : &cache->oldest) = chain->newer;
    *(chain->newer ? &chain->newer->older : &cache->newest) = chain->older;
    chain->older = chain->newer = NULL;
    chain->is_idle = 0;
    cache->idle_blocks -= chain->blocks;
}

static void open_chain(Cache *cache, Chain *chain) {
    if (chain->is_idle) leave_idle(cache, chain);
    chain->readers++;
}

static void close_chain(Cache *cache, Chain *chain) {
    if (--chain->readers) return;
    chain->older = cache->newest;
    *(cache->newest ? &cache->newest->newer : &cache->oldest) = chain;
    cache->newest = chain;
    chain->is_idle = 1;
    cache->idle_blocks += chain->blocks;
}

static int64_t blocks_of_group(const Cache *cache, const Request *text) {
    return text->group != NOBODY ? whole_blocks(cache, text->group_tokens) : 0;
}

/* Whole blocks of the group's and of the session's chain that the first `tokens` tokens of a text begin with. */
static void found(const Cache *cache, const Request *text, int64_t tokens, int64_t *group, int64_t *session) {
    *group = *session = 0;
    if (!cache->prefixes) return;
    int64_t most = whole_blocks(cache, tokens), whole = blocks_of_group(cache, text);
    if (whole) {
        Chain *chain = find_chain(cache, 1, text->group);
        int64_t blocks = chain ? chain->blocks : 0;
        *group = whole < most ? whole : most;
        if (blocks < *group) *group = blocks;
        if (*group < whole) return;
    }
    Chain *chain = text->session != NOBODY ? find_chain(cache, 0, text->session) : NULL;
    int64_t blocks = chain ? chain->blocks : 0;
    *session = most - *group < blocks ? most - *group : blocks;
}

/* Whether a text can ever be held behind blocks of its chains: these stay whole while their start is read. */
static int fits(const Cache *cache, const Request *text, int64_t tokens, int64_t group, int64_t session) {
    int64_t blocks = blocks_of(cache, tokens) - group - session;
    if (group) blocks += find_chain(cache, 1, text->group)->blocks;
    if (session) blocks += find_chain(cache, 0, text->session)->blocks;
    return blocks <= cache->n_blocks;
}

/* Blocks that can be taken beside chains which are about to be read. */
static int64_t takeable(const Cache *cache, const Request *text, int64_t group, int64_t session) {
    int64_t left = available(cache);
    Chain *chain = group ? find_chain(cache, 1, text->group) : NULL;
    if (chain && chain->is_idle) left -= chain->blocks;
    chain = session ? find_chain(cache, 0, text->session) : NULL;
    if (chain && chain->is_idle) left -= chain->blocks;
    return left;
}

static void read_chains(Cache *cache, Held *held, const Request *text, int64_t group, int64_t session) {
    if (group) {
        open_chain(cache, find_chain(cache, 1, text->group));
        held->group_blocks = group;
        held->reads_group = 1;
    }
    if (session) {
        open_chain(cache, find_chain(cache, 0, text->session));
        held->session_blocks = session;
        held->reads_session = 1;
    }
}

static void take(Cache *cache, Held *held, int64_t blocks) {
    while (cache->free < blocks) {
        Chain *chain = cache->oldest;
        int64_t given = blocks - cache->free < chain->blocks ? blocks - cache->free : chain->blocks;
        chain->blocks -= given;
        cache->kept -= given;
        cache->free += given;
        cache->idle_blocks -= given;
        if (!chain->blocks) {
            leave_idle(cache, chain);
            drop_chain(cache, chain);
        }
    }
    cache->free -= blocks;
    cache->own += blocks;
    held->own += blocks;
}

static int publish(Cache *cache, Held *held, int is_group, int64_t id, int64_t whole, int64_t read, int reads) {
    Chain *chain = find_chain(cache, is_group, id);
    if (!chain && !(chain = make_chain(cache, is_group, id))) return 0;
    if (!reads) open_chain(cache, chain);
    held->own -= whole - read;
    cache->own -= whole - read;
    if (chain->blocks >= whole) {
        cache->free += whole - read;
        return 1;
    }
    cache->free += chain->blocks - read;
    cache->kept += whole - chain->blocks;
    chain->blocks = whole;
    return 1;
}

static int publish_group(Cache *cache, Held *held, const Request *text) {
    int64_t whole = blocks_of_group(cache, text);
    if (!cache->prefixes || whole <= held->group_blocks) return 1;
    if (!publish(cache, held, 1, text->group, whole, held->group_blocks, held->reads_group)) return 0;
    held->group_blocks = whole;
    held->reads_group = 1;
    return 1;
}

/* Give all back; the session's chain keeps what is whole of the first `tokens` tokens, 0: nothing new. */
static int release(Cache *cache, Held *held, const Request *text, int64_t tokens) {
    if (cache->prefixes && text->session != NOBODY && held->group_blocks == blocks_of_group(cache, text)) {
        int64_t whole = whole_blocks(cache, tokens) - held->group_blocks;
        if (whole > held->session_blocks) {
            if (!publish(cache, held, 0, text->session, whole, held->session_blocks, held->reads_session)) return 0;
            held->session_blocks = whole;
            held->reads_session = 1;
        }
    }
    cache->free += held->own;
    cache->own -= held->own;
    if (held->reads_group) close_chain(cache, find_chain(cache, 1, text->group));
    if (held->reads_session) close_chain(cache, find_chain(cache, 0, text->session));
    memset(held, 0, sizeof(*held));
    return 1;
}

/* Empty the chain behind the group's part, which nobody reads or will read. */
static void drop_text(Cache *cache, const Request *text) {
    Chain *chain = find_chain(cache, 0, text->session);
    if (!chain) return;
    leave_idle(cache, chain);
    cache->free += chain->blocks;
    cache->kept -= chain->blocks;
    drop_chain(cache, chain);
}
