/*
 * A worker for gearmand: "echo" sends each request back as it came.
 *
 *     gearman_worker PORT
 */
#include <libgearman/gearman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gearman_return_t echo(gearman_job_st *job, void *context)
{
    (void) context;
    return gearman_job_send_complete(job, gearman_job_workload(job), gearman_job_workload_size(job));
}

int main(int count, char **arguments)
{
    if (count != 2) {
        fputs("usage: gearman_worker PORT\n", stderr);
        return 2;
    }
    gearman_worker_st *worker = gearman_worker_create(NULL);
    gearman_function_t function = gearman_function_create(echo);
    in_port_t port = (in_port_t) atoi(arguments[1]);
    if (gearman_failed(gearman_worker_add_server(worker, "127.0.0.1", port)) ||
        gearman_failed(gearman_worker_define_function(worker, "echo", strlen("echo"), function, 0, NULL))) {
        fprintf(stderr, "gearman_worker: %s\n", gearman_worker_error(worker));
        return 1;
    }
    puts("ready");
    fflush(stdout);
    while (gearman_success(gearman_worker_work(worker))) continue;
    return 0;
}
