export const hook = {
    configure(options) {
        fallible(optional("configure", () => undefined), JSON.parse(options || "{}"));
    },
    topics() {
        return call(optional("topics", () => []));
    },
    handle(events) {
        for (const event of events) {
            const { sequence, at, topic, payload } = event;
            fallible(plugin.handle, { sequence: Number(sequence), at: Number(at), topic, payload: JSON.parse(payload) });
        }
    },
};
