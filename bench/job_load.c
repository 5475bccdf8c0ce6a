/*
 * Submits jobs at an endpoint for jobs (the option `jobs`), from one DEALER with WIDTH of them under way. Each is
 * numbered in its envelope, and acknowledged by a JSON object with an id that no other job has. The figures are printed
 * as JSON; a reply is an acknowledgement.
 *
 *     job_load ENDPOINT SERVICE WIDTH SIZE WARM_UP DURATION REQUESTS GRACE
 *
 * Times are ms; 0 requests: without end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <zmq.h>

#include "figures.h"

enum {
    MAX_WIDTH = 10000,
    /* What an acknowledgement begins with, and the digits of the id behind it. */
    ID_DIGITS = 32,
    /* Acknowledgements that are longer than this are wrong. */
    ANSWER_BYTES = 256,
};

static const char start[] = "{\"id\":\"j-";

/* A submit under way; `sent_at` 0: none is. */
typedef struct {
    uint64_t sent_at;
    uint32_t number;
} submit_t;

static void *server;
/* What is said of each job. */
static char words[128];
static submit_t *submits;
static uint64_t open_submits;

static void fail(const char *what)
{
    fprintf(stderr, "job_load: %s: %s\n", what, zmq_strerror(errno));
    exit(1);
}

static void send_frame(const void *bytes, size_t size, int flags)
{
    if (zmq_send(server, bytes, size, flags) == -1) fail("Cannot send");
}

/* The envelope is [slot] [number], so that an answer finds its submit. */
static void submit(uint32_t slot, uint64_t now)
{
    submit_t *one = &submits[slot];
    one->number = (uint32_t) sent++;
    one->sent_at = now;
    open_submits++;
    uint32_t envelope[2] = { slot, one->number };
    send_frame(envelope, sizeof envelope, ZMQ_SNDMORE);
    send_frame("", 0, ZMQ_SNDMORE);
    send_frame("submit", strlen("submit"), ZMQ_SNDMORE);
    send_frame(words, strlen(words), ZMQ_SNDMORE);
    unsigned char *body = noise + one->number % SHIFTS, covered[NUMBER_BYTES];
    memcpy(covered, body, NUMBER_BYTES);
    put_number(body, one->number);
    send_frame(body, load.size, 0);
    memcpy(body, covered, NUMBER_BYTES);
}

/* Whether it is an acknowledgement of a new job. */
static bool is_acknowledgement(const char *text, size_t size)
{
    size_t head = strlen(start);
    if (size < head + ID_DIGITS + 1 || memcmp(text, start, head) != 0) return false;
    for (size_t at = head; at < head + ID_DIGITS; at++)
        if (strchr("0123456789abcdef", text[at]) == NULL) return false;
    return text[head + ID_DIGITS] == '"' && memmem(text, size, "true", 4) != NULL;
}

static submit_t *submit_of(const uint32_t *envelope, int size)
{
    if (size != (int) sizeof(uint32_t[2]) || envelope[0] >= load.width) return NULL;
    submit_t *one = &submits[envelope[0]];
    return one->sent_at != 0 && one->number == envelope[1] ? one : NULL;
}

static bool has_more(void)
{
    int more;
    size_t size = sizeof more;
    zmq_getsockopt(server, ZMQ_RCVMORE, &more, &size);
    return more != 0;
}

/* Reads the frames behind the envelope: [""] [JSON], or [""] [""] ["CODE message"]. */
static void judge(submit_t *one, uint64_t now)
{
    char text[ANSWER_BYTES];
    int size = 0, frames = 0;
    bool is_error = false;
    for (; has_more(); frames++) {
        size = zmq_recv(server, text, sizeof text, 0);
        if (size == -1) fail("Cannot receive");
        if (frames == 1 && size == 0) is_error = true;
        if (size > (int) sizeof text) size = (int) sizeof text;
    }
    if (one == NULL) {
        duplicates++;
        return;
    }
    if (is_error) {
        char code[8] = "";
        for (int at = 0; at < size && at < 3; at++) code[at] = text[at];
        count_error(code);
    } else if (frames == 2 && is_acknowledgement(text, (size_t) size)) take_right(one->sent_at, now);
    else wrong++;
    one->sent_at = 0;
    open_submits--;
}

/* Takes one answer; false when there is none. The slot is free then. */
static bool take(uint32_t *slot)
{
    uint32_t envelope[2];
    int size = zmq_recv(server, envelope, sizeof envelope, ZMQ_DONTWAIT);
    if (size == -1 && errno == EAGAIN) return false;
    if (size == -1) fail("Cannot receive");
    submit_t *one = submit_of(envelope, size);
    judge(one, clock_now());
    *slot = one == NULL ? (uint32_t) load.width : (uint32_t) (one - submits);
    return true;
}

static void run(void)
{
    for (uint32_t slot = 0; slot < load.width && !is_over(clock_now()); slot++) submit(slot, clock_now());
    uint64_t last = clock_now();
    while (open_submits > 0 && clock_now() < last + load.grace) {
        zmq_pollitem_t item = { .socket = server, .events = ZMQ_POLLIN };
        if (zmq_poll(&item, 1, 100) == -1 && errno != EINTR) fail("Cannot wait");
        for (uint32_t slot; take(&slot);) {
            uint64_t now = clock_now();
            if (slot == load.width || is_over(now)) continue;
            submit(slot, now);
            last = now;
        }
    }
    missing += open_submits;
}

int main(int count, char **arguments)
{
    if (count != 9 || !read_load(arguments + 3) || load.width > MAX_WIDTH || !make_noise()) {
        fputs("usage: job_load ENDPOINT SERVICE WIDTH SIZE WARM_UP DURATION REQUESTS GRACE\n", stderr);
        return 2;
    }
    const int unlimited = 0, none = 0;
    void *context = zmq_ctx_new();
    snprintf(words, sizeof words, "{\"service\":\"%s\"}", arguments[2]);
    submits = calloc(load.width, sizeof *submits);
    server = zmq_socket(context, ZMQ_DEALER);
    if (submits == NULL || server == NULL) fail("Cannot start");
    zmq_setsockopt(server, ZMQ_SNDHWM, &unlimited, sizeof unlimited);
    zmq_setsockopt(server, ZMQ_RCVHWM, &unlimited, sizeof unlimited);
    zmq_setsockopt(server, ZMQ_LINGER, &none, sizeof none);
    if (zmq_connect(server, arguments[1]) == -1) fail("Cannot connect");
    run();
    print_figures();
    zmq_close(server);
    zmq_ctx_term(context);
    return 0;
}
