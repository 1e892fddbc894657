export const handover = {
    save: () => call(plugin.save),
    restore: (state) => fallible(plugin.restore, state),
};
