/* takt.lpu.fast._kernels: runs a tape, one call for a whole program.

   It knows operations on vectors and where they lie; streams, cycles and queues are gone (`lift` did away with them).
   Pointers in the tape are trusted: `engine` makes them, and keeps what they point to alive. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_lanes.h"
#include "_matrix.h"

INLINE int run_op(const Tape *tape, const Op *op) {
    const uint64_t *args = tape->args + op->args;
    const byte *in = (const byte *)args[0];
    const uint32_t *words = (const uint32_t *)args[0];
    byte *out = (byte *)op->out;
    uint32_t *out_words = (uint32_t *)op->out;
    switch (op->code) {
    case READ:
    case RECEIVE:
    case SEND:
    case WRITE: memcpy(out, in, LANES); return FINE;
    case GATHER: return gather(tape, op, args);
    case SCATTER: return scatter(tape, op, args);
    case WIDEN16: widen16(in, (const byte *)args[1], out_words); return FINE;
    case WIDEN_I8: EACH_LANE out_words[l] = (uint32_t)(int32_t)(int8_t)in[l]; return FINE;
    case WIDEN_U8: EACH_LANE out_words[l] = in[l]; return FINE;
    case JOIN: join(args, out_words); return FINE;
    case SPLIT: split(words, out); return FINE;
    case NARROW16: narrow16(words, out); return FINE;
    case NARROW_I8: EACH_LANE out[l] = (byte)clip((int32_t)words[l], -128, 127); return FINE;
    case NARROW_U8: EACH_LANE out[l] = (byte)clip((int32_t)words[l], 0, 255); return FINE;
    case ACC_F32: return vxm(30, words, (const uint32_t *)args[1], out_words);
    case ACC_I32: return vxm(36, words, (const uint32_t *)args[1], out_words);
    case SHIFT: shift(op, args); return FINE;
    case SELECT: select_(op, args); return FINE;
    case PERMUTE: return permute(op, args);
    case DISTRIBUTE: distribute(op, args); return FINE;
    case TRANSPOSE: transpose(args, out); return FINE;
    case ROTATE: rotate(op, args); return FINE;
    default: return vxm(op->code, words, (const uint32_t *)args[1], out_words);
    }
}

INLINE int run_ops(Tape *tape) {
    for (int64_t i = 0; i < tape->n_ops; i++) {
        const Op *op = tape->ops + i;
        if (op->code == MATRIX_F16 || op->code == MATRIX_I8) {
            matrix(tape, op, tape->args + op->args);
            continue;
        }
        int fault = run_op(tape, op);
        if (fault) {
            tape->fault_at = i;
            return fault;
        }
    }
    return FINE;
}

/* The same loops, compiled for each kind of processor; choose_kernels() says which. */
static int run_plain(Tape *tape) { return run_ops(tape); }
#ifdef TAKT_X86
static TARGET_AVX2 int run_avx2(Tape *tape) { return run_ops(tape); }
static TARGET_AVX512 int run_avx512(Tape *tape) { return run_ops(tape); }
#endif

static int run_tape(Tape *tape) {
#ifdef TAKT_X86
    if (kernel_level >= 2) return run_avx512(tape);
    if (kernel_level == 1) return run_avx2(tape);
#endif
    return run_plain(tape);
}

INLINE int all_alike(const byte *x) {
    byte differences = 0;
    EACH_LANE differences |= x[l] ^ x[0];
    return !differences;
}

/* Contents of columns that never change: the largest high byte of each, a bound of its weights, and whether it is zero
   throughout. Columns that hold one and the same weight everywhere get one address, so that they are seen to be equal.
   `first_of`: room for 65,536 indices, all zero. */
static void measure_columns(Column *columns, int64_t n, int is_f16, uint32_t *first_of) {
    for (int64_t i = 0; i < n; i++) {
        const byte *low = (const byte *)columns[i].low, *high = (const byte *)columns[i].high;
        byte any = 0;
        EACH_LANE any |= low[l];
        if (is_f16) EACH_LANE any |= high[l] & 0x7f;
        columns[i].top = is_f16 ? top_of(high) : 0;
        columns[i].bound = is_f16 ? (float)bound_of(columns + i) : 0;
        columns[i].kind = any == 0 ? ALL_ZERO : ORDINARY;
        if (!any || !all_alike(low) || (is_f16 && !all_alike(high))) continue;
        uint32_t *first = first_of + (is_f16 ? low[0] | high[0] << 8 : low[0]);
        if (!*first) *first = (uint32_t)i + 1;
        columns[i].low = columns[*first - 1].low;
        if (is_f16) columns[i].high = columns[*first - 1].high;
    }
}

static int get_buffer(PyObject *object, Py_buffer *view, int writable) {
    return PyObject_GetBuffer(object, view, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE);
}

PyDoc_STRVAR(run_doc,
             "run(ops, args, columns, tiles, n_ops, words, threads) -> (fault kind, index of the op)\n\n"
             "Carry out the first n_ops of a tape. The first four are buffers laid out as in codes.py. Kind 0 is no fault.");

static PyObject *py_run(PyObject *self, PyObject *arguments) {
    PyObject *objects[4];
    Py_buffer views[4];
    Tape tape = {0};
    long long n_ops, words;
    int n_views = 0, fault = FINE;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "OOOOLLi", &objects[0], &objects[1], &objects[2], &objects[3], &n_ops, &words,
                          &tape.threads))
        return NULL;
    for (; n_views < 4; n_views++)
        if (get_buffer(objects[n_views], &views[n_views], 0)) goto done;
    tape.ops = views[0].buf, tape.args = views[1].buf, tape.columns = views[2].buf, tape.tiles = views[3].buf;
    tape.words = words;
    tape.n_ops = views[0].len / (Py_ssize_t)sizeof(Op);
    if (n_ops < tape.n_ops) tape.n_ops = n_ops;
    tape.threads = pool_begin(tape.threads);
    Py_BEGIN_ALLOW_THREADS
    fault = run_tape(&tape);
    pool_end(tape.threads);
    Py_END_ALLOW_THREADS
done:
    for (int i = 0; i < n_views; i++) PyBuffer_Release(&views[i]);
    return PyErr_Occurred() ? NULL : Py_BuildValue("iL", fault, (long long)tape.fault_at);
}

PyDoc_STRVAR(measure_doc, "measure(columns, is_f16)\n\nFill in `top`, `bound` and `zero`; columns of one weight throughout get one address.");

static PyObject *py_measure(PyObject *self, PyObject *arguments) {
    PyObject *object;
    Py_buffer view;
    int is_f16;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "Oi", &object, &is_f16) || get_buffer(object, &view, 1)) return NULL;
    uint32_t *first_of = PyMem_Calloc(1 << 16, sizeof(uint32_t));
    if (first_of) measure_columns(view.buf, view.len / (Py_ssize_t)sizeof(Column), is_f16, first_of);
    PyMem_Free(first_of);
    PyBuffer_Release(&view);
    if (!first_of) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(place_doc,
             "place(sizes, last_use, offsets) -> bytes\n\n"
             "Give every value (one per op; i64 size in bytes, 0 for none) a place in the arena that is free from its op\n"
             "until after its last use; i64 offsets are filled in. Sizes are rounded up to 320-byte units.");

#define SIZE_CLASSES 128

/* Free places are kept per size, last freed first: it is the likeliest to be in the cache. */
static int64_t place(const int64_t *size, const int64_t *last_use, int64_t *offset, int64_t n, int64_t *links) {
    int64_t end = 0, free_of[SIZE_CLASSES];
    int64_t *dying = links, *next = links + n; /* dying[i]: first value whose last use is op i */
    for (int i = 0; i < SIZE_CLASSES; i++) free_of[i] = -1;
    for (int64_t i = 0; i < n; i++) dying[i] = -1;
    for (int64_t i = 0; i < n; i++) {
        int64_t units = (size[i] + LANES - 1) / LANES;
        if (units >= SIZE_CLASSES || (units && (last_use[i] < i || last_use[i] >= n))) return -1;
        if (units) {
            int64_t reused = free_of[units];
            if (reused >= 0) {
                offset[i] = offset[reused];
                free_of[units] = next[reused];
            } else {
                offset[i] = end;
                end += units * LANES;
            }
            next[i] = dying[last_use[i]];
            dying[last_use[i]] = i;
        }
        for (int64_t dead = dying[i]; dead >= 0;) {
            int64_t after = next[dead], class = (size[dead] + LANES - 1) / LANES;
            next[dead] = free_of[class];
            free_of[class] = dead;
            dead = after;
        }
    }
    return end;
}

static PyObject *py_place(PyObject *self, PyObject *arguments) {
    PyObject *objects[3];
    Py_buffer views[3];
    int n_views = 0;
    int64_t used = -1, n = 0, *links = NULL;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "OOO", &objects[0], &objects[1], &objects[2])) return NULL;
    for (; n_views < 3; n_views++)
        if (get_buffer(objects[n_views], &views[n_views], n_views == 2)) goto done;
    n = views[0].len / (Py_ssize_t)sizeof(int64_t);
    links = PyMem_Malloc((size_t)(2 * n + 1) * sizeof(int64_t));
    if (!links) {
        PyErr_NoMemory();
        goto done;
    }
    if (views[1].len == views[0].len && views[2].len == views[0].len)
        used = place(views[0].buf, views[1].buf, views[2].buf, n, links);
    if (used < 0) PyErr_SetString(PyExc_ValueError, "values with impossible sizes or uses");
done:
    PyMem_Free(links);
    for (int i = 0; i < n_views; i++) PyBuffer_Release(&views[i]);
    return PyErr_Occurred() ? NULL : PyLong_FromLongLong(used);
}

PyDoc_STRVAR(kernels_doc, "kernels(at_most=9) -> int\n\nChoose the kernels: 0 plain, 1 AVX2, 2 AVX-512, 3 with VBMI; the best by default.");

static PyObject *py_kernels(PyObject *self, PyObject *arguments) {
    int at_most = 9;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "|i", &at_most)) return NULL;
    return PyLong_FromLong(choose_kernels(at_most));
}

static PyMethodDef methods[] = {{"run", py_run, METH_VARARGS, run_doc},
                                {"measure", py_measure, METH_VARARGS, measure_doc},
                                {"place", py_place, METH_VARARGS, place_doc},
                                {"kernels", py_kernels, METH_VARARGS, kernels_doc},
                                {NULL, NULL, 0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_kernels", "Kernels of the fast engine.", -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void) {
    choose_kernels(9);
    return PyModule_Create(&module);
}
