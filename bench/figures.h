/*
 * What the load generators in C share: the bodies of requests, what came of them, and how that is printed, as load.ts
 * names it. The noise and the histogram are those of bodies.ts and histogram.ts.
 *
 * The body of a request is [u32 number, big-endian] [noise].
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    NUMBER_BYTES = 4,
    /* A body starts in the noise at its number modulo this: so many in a row differ. */
    SHIFTS = 4096,
    /* Steps from one power of two to the next in the histogram. */
    STEPS = 64,
    POWERS = 40,
    MAX_CODES = 64,
};

/* How much to ask. Times are ns. */
static struct {
    uint64_t width, size;
    uint64_t requests; /* 0: without end */
    uint64_t warm_at, end_at;
    uint64_t grace; /* what is not answered so long after the last request is lost */
} load;

/* What came of it. */
static uint64_t sent, replies, counted, counted_at, wrong, duplicates, missing;
static struct {
    char code[8];
    uint64_t count;
} errors[MAX_CODES];
static uint64_t histogram[STEPS * POWERS], latencies;
static double slowest;
static unsigned char *noise;

static uint64_t clock_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t) time.tv_sec * 1000000000u + (uint64_t) time.tv_nsec;
}

static uint64_t nanoseconds(const char *millis)
{
    return (uint64_t) (strtod(millis, NULL) * 1e6);
}

/* Takes WIDTH SIZE WARM_UP DURATION REQUESTS GRACE, times in ms. */
static bool read_load(char **arguments)
{
    load.width = strtoull(arguments[0], NULL, 10);
    load.size = strtoull(arguments[1], NULL, 10);
    load.requests = strtoull(arguments[4], NULL, 10);
    load.grace = nanoseconds(arguments[5]);
    counted_at = load.warm_at = clock_now() + nanoseconds(arguments[2]);
    load.end_at = clock_now() + nanoseconds(arguments[3]);
    return load.width > 0 && load.size >= NUMBER_BYTES;
}

static bool is_over(uint64_t now)
{
    return now >= load.end_at || (load.requests > 0 && sent >= load.requests);
}

/* ---- latencies, kept to 1 in 64 ---- */

static void note_latency(double micros)
{
    double value = micros + 1;
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint64_t slot = (bits >> 46) - (1023 << 6);
    if (slot >= STEPS * POWERS) slot = STEPS * POWERS - 1;
    histogram[slot]++;
    latencies++;
    if (micros > slowest) slowest = micros;
}

static double latency_at(double share)
{
    double left = (double) latencies * share;
    for (uint64_t slot = 0; slot < STEPS * POWERS; slot++) {
        left -= (double) histogram[slot];
        if (histogram[slot] == 0 || left > 0) continue;
        double upper = (double) ((uint64_t) 1 << slot / STEPS) * (1 + (slot % STEPS + 1.0) / STEPS) - 1;
        return upper < slowest ? upper : slowest;
    }
    return -1;
}

/* ---- bodies ---- */

static bool make_noise(void)
{
    uint64_t bytes = load.size + SHIFTS;
    uint32_t state = 1;
    noise = malloc(bytes);
    if (noise == NULL) return false;
    for (uint64_t index = 0; index < bytes; index++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        noise[index] = (unsigned char) (state >> 24);
    }
    return true;
}

static inline uint32_t number_of(const unsigned char *body)
{
    return (uint32_t) body[0] << 24 | (uint32_t) body[1] << 16 | (uint32_t) body[2] << 8 | body[3];
}

static void put_number(unsigned char *body, uint32_t number)
{
    for (int index = 0; index < NUMBER_BYTES; index++)
        body[index] = (unsigned char) (number >> (8 * (NUMBER_BYTES - 1 - index)));
}

static inline bool is_body(const unsigned char *body, uint32_t number)
{
    return memcmp(body + NUMBER_BYTES, noise + number % SHIFTS + NUMBER_BYTES,
                  load.size - NUMBER_BYTES) == 0;
}

/* ---- what came of it ---- */

/* A right reply to what was sent at that time. */
static void take_right(uint64_t sent_at, uint64_t now)
{
    replies++;
    if (now >= load.warm_at && now < load.end_at) {
        counted++;
        counted_at = now;
    }
    if (sent_at >= load.warm_at) note_latency((double) (now - sent_at) / 1e3);
}

static void count_error(const char *code)
{
    for (int index = 0; index < MAX_CODES; index++) {
        if (errors[index].count > 0 && strcmp(errors[index].code, code) != 0) continue;
        snprintf(errors[index].code, sizeof errors[index].code, "%s", code);
        errors[index].count++;
        return;
    }
}

static void print_number(double value)
{
    if (value < 0) printf("null");
    else printf("%.3f", value);
}

static void print_figures(void)
{
    uint64_t end = load.requests > 0 && counted_at < load.end_at ? counted_at : load.end_at;
    double seconds = end > load.warm_at ? (double) (end - load.warm_at) / 1e9 : 0;
    const char *comma = "";
    printf("{\"requests\":%" PRIu64 ",\"replies\":%" PRIu64 ",\"wrong\":%" PRIu64
           ",\"duplicates\":%" PRIu64 ",\"missing\":%" PRIu64 ",\"errors\":{",
           sent, replies, wrong, duplicates, missing);
    for (int index = 0; index < MAX_CODES && errors[index].count > 0; index++) {
        printf("%s\"%s\":%" PRIu64, comma, errors[index].code, errors[index].count);
        comma = ",";
    }
    printf("},\"rate\":%.3f,\"percentiles\":[", seconds > 0 ? (double) counted / seconds : 0);
    print_number(latency_at(0.5));
    printf(",");
    print_number(latency_at(0.95));
    printf(",");
    print_number(latency_at(0.99));
    printf("],\"slowest\":%.3f,\"marked\":{\"replies\":0,\"percentiles\":[null,null,null]}}\n", slowest);
}
