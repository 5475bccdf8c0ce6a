/*
 * The load generator for gearmand: "req" has WIDTH threads with a connection and a request each; "dealer" has one
 * connection and gives WIDTH requests at a time, as libgearman takes a next one only when all of them have ended;
 * "background" has WIDTH threads with a connection each, which submit jobs that run later: a reply is the word that one
 * is in the queue. The figures are printed as JSON.
 *
 *     gearman_load PORT req|dealer|background WIDTH SIZE WARM_UP DURATION REQUESTS GRACE
 *
 * Times are ms; 0 requests: without end.
 */
#define _GNU_SOURCE
#include <libgearman/gearman.h>
#include <pthread.h>

#include "figures.h"

enum { MAX_WIDTH = 10000 };

static in_port_t port;
/* Held while the figures are changed. */
static pthread_mutex_t ledger = PTHREAD_MUTEX_INITIALIZER;

/* A request under way. */
typedef struct {
    unsigned char *body;
    uint32_t number;
    uint64_t sent_at;
    bool is_answered;
} request_t;

static gearman_client_st *connect_client(void)
{
    gearman_client_st *client = gearman_client_create(NULL);
    if (client == NULL || gearman_failed(gearman_client_add_server(client, "127.0.0.1", port))) {
        fputs("gearman_load: Cannot connect\n", stderr);
        exit(1);
    }
    gearman_client_set_timeout(client, (int) (load.grace / 1000000));
    return client;
}

/* Takes the next number; false when it is over. */
static bool begin(request_t *request)
{
    pthread_mutex_lock(&ledger);
    uint64_t now = clock_now();
    bool may = !is_over(now);
    if (may) {
        request->number = (uint32_t) sent++;
        request->sent_at = now;
        request->is_answered = false;
    }
    pthread_mutex_unlock(&ledger);
    if (!may) return false;
    memcpy(request->body, noise + request->number % SHIFTS, load.size);
    put_number(request->body, request->number);
    return true;
}

static void take(request_t *request, const unsigned char *body, size_t size)
{
    pthread_mutex_lock(&ledger);
    bool is_right = size == load.size && number_of(body) == request->number && is_body(body, request->number);
    if (request->is_answered) duplicates++;
    else if (is_right) take_right(request->sent_at, clock_now());
    else wrong++;
    request->is_answered = true;
    pthread_mutex_unlock(&ledger);
}

static void fail(const char *error)
{
    pthread_mutex_lock(&ledger);
    count_error(error);
    pthread_mutex_unlock(&ledger);
}

static void *ask_alone(void *request)
{
    request_t *current = request;
    gearman_client_st *client = connect_client();
    while (begin(current)) {
        size_t size = 0;
        gearman_return_t result = GEARMAN_SUCCESS;
        void *body = gearman_client_do(client, "echo", NULL, current->body, load.size, &size, &result);
        if (gearman_success(result) && body != NULL) take(current, body, size);
        else fail("failed");
        free(body);
    }
    gearman_client_free(client);
    return NULL;
}

static void *submit_alone(void *request)
{
    request_t *current = request;
    gearman_client_st *client = connect_client();
    while (begin(current)) {
        char handle[GEARMAN_JOB_HANDLE_SIZE];
        gearman_return_t result = gearman_client_do_background(client, "echo", NULL, current->body, load.size, handle);
        pthread_mutex_lock(&ledger);
        if (gearman_success(result)) take_right(current->sent_at, clock_now());
        else count_error("failed");
        pthread_mutex_unlock(&ledger);
    }
    gearman_client_free(client);
    return NULL;
}

static gearman_return_t complete(gearman_task_st *task)
{
    take(gearman_task_context(task), gearman_task_data(task), gearman_task_data_size(task));
    return GEARMAN_SUCCESS;
}

static void ask_together(request_t *requests)
{
    gearman_client_st *client = connect_client();
    gearman_client_set_complete_fn(client, complete);
    for (;;) {
        uint64_t begun = 0;
        while (begun < load.width && begin(&requests[begun])) {
            gearman_return_t result;
            request_t *request = &requests[begun++];
            gearman_client_add_task(client, NULL, request, "echo", NULL, request->body, load.size, &result);
            if (gearman_failed(result)) fail("failed");
        }
        if (begun == 0) break;
        if (gearman_failed(gearman_client_run_tasks(client))) fail("failed");
        for (uint64_t index = 0; index < begun; index++) missing += !requests[index].is_answered;
        gearman_client_task_free_all(client);
    }
    gearman_client_free(client);
}

int main(int count, char **arguments)
{
    if (count != 9 || !read_load(arguments + 3) || load.width > MAX_WIDTH || !make_noise()) {
        fputs("usage: gearman_load PORT req|dealer|background WIDTH SIZE WARM_UP DURATION REQUESTS GRACE\n", stderr);
        return 2;
    }
    port = (in_port_t) atoi(arguments[1]);
    request_t *requests = calloc(load.width, sizeof *requests);
    pthread_t *threads = calloc(load.width, sizeof *threads);
    for (uint64_t index = 0; index < load.width; index++) requests[index].body = malloc(load.size);
    void *(*act)(void *) = strcmp(arguments[2], "background") == 0 ? submit_alone : ask_alone;
    if (strcmp(arguments[2], "dealer") == 0) ask_together(requests);
    else {
        for (uint64_t index = 0; index < load.width; index++)
            if (pthread_create(&threads[index], NULL, act, &requests[index]) != 0) return 1;
        for (uint64_t index = 0; index < load.width; index++) pthread_join(threads[index], NULL);
    }
    print_figures();
    return 0;
}
