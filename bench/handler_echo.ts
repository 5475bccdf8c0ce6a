/** The ordinary handler: the body comes back. */
export default (body: Uint8Array) => body;
