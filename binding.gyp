{
  # For people who run node-gyp: delegates to the one CMake build.
  'targets': [
    {
      'target_name': 'hardbit',
      'type': 'none',
      'actions': [
        {
          'action_name': 'cmake',
          'inputs': ['CMakeLists.txt'],
          'outputs': ['<(module_root_dir)/build/cmake/Release/hardbit.node'],
          'action': ['node', 'scripts/build.mjs'],
        },
      ],
    },
  ],
}
